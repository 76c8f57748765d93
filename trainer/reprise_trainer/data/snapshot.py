"""The snapshot: an immutable data set, a folder of raw shards and the canonical JSON document that names them.

A snapshot's digest is the digest of `snapshot.json`, which holds the sha256 of every shard: so the digest names every
byte. Each shard holds one field of consecutive records, C order, little-endian, with no header. Format 2; format 1 had
one source, and neither Merkle root, nor counts, nor split rules.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.data.merkle import merkle_root
from reprise_trainer.errors import InputError, NotFoundError, RefusedError

if TYPE_CHECKING:
    from reprise_trainer.data.shelf import Shelf

DOCUMENT = "snapshot.json"
READ_SIZE = 1 << 20
"""Bytes a read while hashing; large enough that threads hash side by side (hashlib frees the interpreter lock)."""

_SHA256 = r"^[0-9a-f]{64}$"
_NAME = r"^[a-z][a-z0-9_]*$"
DTYPE_SIZES = {"uint8": 1, "int32": 4, "int64": 8, "float32": 4}
"""Element type → bytes. These four have the same meaning in NumPy, PyTorch and JAX."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class RecordField(_Document):
    """One field of a record.

    `shape` is empty for a scalar; `classes` names a label's or a token's values from 0; `range` holds the smallest and
    the largest value that the snapshot has (floats as `float.hex` writes them). `stride` marks windows: the records
    overlap in one stored array, each `shape[0]` elements long, each starting `stride` elements after the one before.
    """

    name: str = Field(pattern=_NAME)
    dtype: Literal["uint8", "int32", "int64", "float32"]
    shape: tuple[Annotated[int, Field(ge=1)], ...]
    classes: tuple[str, ...] | None = None
    range: tuple[int, int] | tuple[str, str] | None = None
    stride: int | None = Field(default=None, ge=1)

    @property
    def element_bytes(self) -> int:
        return DTYPE_SIZES[self.dtype]

    @property
    def record_bytes(self) -> int:
        """Bytes of this field in one record."""
        return self.element_bytes * math.prod(self.shape)

    @property
    def is_label(self) -> bool:
        """Whether the field names a class and is no input: two records that differ in it alone count as equal."""
        return self.classes is not None and not self.shape

    def stored_bytes(self, records: int) -> int:
        """Bytes of a shard with this field of `records` consecutive records."""
        if self.stride is None:
            return records * self.record_bytes
        return ((records - 1) * self.stride + self.shape[0]) * self.element_bytes


class Shard(_Document):
    """One file: `records` consecutive records of one field; `size` in bytes; `path` relative to the snapshot."""

    path: str = Field(pattern=r"^shards/[A-Za-z0-9._-]+$")
    field: str
    sha256: str = Field(pattern=_SHA256)
    records: int = Field(ge=1)
    size: int = Field(alias="bytes", ge=1)


class SplitRule(_Document):
    """How a split came about: `given` by its source; or taken out of split `source`, by `lowest-keyed-hash` (of each
    record's content under `key`) or as its `tail`."""

    kind: Literal["given", "lowest-keyed-hash", "tail"] = "given"
    source: str | None = None
    key: str | None = None


class Split(_Document):
    """A split's records and its shards; a field's shards follow each other in record order.

    `counts` has, for each label and group field, the number of records of each class. `duplicates` are the records
    that equal an earlier one of the split, `dropped` the source's bad rows that are not in it.
    """

    records: int = Field(ge=1)
    shards: tuple[Shard, ...]
    rule: SplitRule = SplitRule()
    counts: dict[str, tuple[int, ...]] = {}
    duplicates: int = Field(default=0, ge=0)
    dropped: int = Field(default=0, ge=0)


class Source(_Document):
    """A file that the snapshot was made from: package URL and bare-hex sha256."""

    artifact: str = Field(pattern=r"^pkg:")
    sha256: str = Field(pattern=_SHA256)


class Preprocessing(_Document):
    """One step from the source's values to the snapshot's: its name and its parameters."""

    step: str
    parameters: dict[str, str | int | bool | tuple[str, ...] | tuple[int, ...] | None] = {}


class Snapshot(_Document):
    """What `snapshot.json` says. `root` is the Merkle root over all shards, by split name and then in record order.

    `groups` names the fields whose classes are groups of people or of origins, for metrics a group. `leaks` counts the
    records that equal one of another split, where the configuration allows them.
    """

    format: Literal[2] = 2
    name: str
    description: str = ""
    fields: tuple[RecordField, ...] = Field(alias="schema")
    splits: dict[Annotated[str, Field(pattern=_NAME)], Split]
    root: str = Field(pattern=_SHA256)
    sources: tuple[Source, ...] = Field(min_length=1)
    licence: str
    preprocessing: tuple[Preprocessing, ...] = ()
    biases: str = ""
    groups: tuple[str, ...] = ()
    leaks: int = Field(default=0, ge=0)

    def field(self, name: str) -> RecordField:
        """The field called `name`; raises `InputError` where the schema has none."""
        for each in self.fields:
            if each.name == name:
                return each
        raise InputError(
            f"snapshot {self.name!r} has no field {name!r}; it has {', '.join(f.name for f in self.fields)}"
        )

    def split(self, name: str) -> Split:
        """The split called `name`; raises `InputError` where there is none."""
        if name not in self.splits:
            raise InputError(f"snapshot {self.name!r} has no split {name!r}; it has {', '.join(sorted(self.splits))}")
        return self.splits[name]

    def shards(self) -> list[Shard]:
        """All shards, in the order of the Merkle tree's leaves."""
        return all_shards(self.splits)


def all_shards(splits: Mapping[str, Split]) -> list[Shard]:
    """The shards of all splits, by split name and then in record order."""
    return [shard for _, split in sorted(splits.items()) for shard in split.shards]


def shard_leaf(shard: Shard) -> bytes:
    """A shard's leaf in the Merkle tree: everything that its document says of it."""
    return canonical_json(shard.model_dump(mode="json", by_alias=True))


def shards_root(splits: Mapping[str, Split]) -> str:
    """The Merkle root over the shards of all splits, bare hex."""
    return merkle_root([shard_leaf(shard) for shard in all_shards(splits)])


@dataclass(frozen=True, slots=True)
class OpenSnapshot:
    """A snapshot whose document and shards were checked; with a `shelf`, shards are when they come. `size`: bytes."""

    folder: Path
    snapshot: Snapshot
    digest: str
    size: int
    shelf: Shelf | None = None


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The canonical bytes of `snapshot.json`."""
    return canonical_json(snapshot.model_dump(mode="json", by_alias=True, exclude_none=True))


def decode_snapshot(data: bytes, *, where: str = DOCUMENT) -> Snapshot:
    """The snapshot in canonical bytes, its counts checked against each other.

    Raises:
        InputError: not a snapshot of this format, not its canonical bytes, or shards that don't add up.
    """
    try:
        snapshot = Snapshot.model_validate(json.loads(data))
    except (ValidationError, ValueError) as error:
        raise InputError(f"{where}: not a snapshot document: {str(error).splitlines()[0]}") from error
    if encode_snapshot(snapshot) != data:
        raise InputError(f"{where}: the document is not in its canonical form")
    for problem in _inconsistencies(snapshot):
        raise InputError(f"{where}: {problem}")
    return snapshot


def open_snapshot(folder: Path, *, expected: str | None = None, workers: int | None = None) -> OpenSnapshot:
    """Read a snapshot folder and check every byte of it against its document.

    Args:
        folder: holds `snapshot.json` and `shards/`.
        expected: the digest that the snapshot must have; None accepts any.
        workers: threads that hash; by default one a core.

    Raises:
        NotFoundError: no snapshot there, or a shard is missing.
        InputError: `snapshot.json` is malformed.
        RefusedError: another snapshot than `expected`, or a shard whose bytes are not those of the document.
    """
    snapshot, digest = read_document(folder, expected)
    shards = snapshot.shards()
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for problem in filter(None, pool.map(lambda shard: shard_problem(folder, shard), shards)):
            raise RefusedError(problem)
    return OpenSnapshot(folder, snapshot, digest, sum(shard.size for shard in shards))


def read_document(folder: Path, expected: str | None = None) -> tuple[Snapshot, str]:
    """The snapshot that a folder's document describes, and its digest; errors as for `open_snapshot`."""
    path = folder / DOCUMENT
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path}: no snapshot to read: {error.strerror}") from error
    digest = sha256_digest(data)
    if expected is not None and digest != expected:
        raise RefusedError(f"{path}: the snapshot is {digest}, expected {expected}")
    return decode_snapshot(data, where=str(path)), digest


def _inconsistencies(snapshot: Snapshot) -> Iterator[str]:
    names = [field.name for field in snapshot.fields]
    if len(set(names)) != len(names) or not names:
        yield "the schema is empty or names a field twice"
    if unknown := set(snapshot.groups) - {field.name for field in snapshot.fields if field.is_label}:
        yield f"group {', '.join(sorted(unknown))} is not a field with classes"
    for field in snapshot.fields:
        if field.stride is not None and len(field.shape) != 1:
            yield f"field {field.name}: windows have one dimension, not shape {field.shape}"
    paths = [shard.path for shard in snapshot.shards()]
    if len(set(paths)) != len(paths):
        yield "two shards have one path"
    for name, split in sorted(snapshot.splits.items()):
        yield from _split_inconsistencies(snapshot, name, split)
    if snapshot.root != (root := shards_root(snapshot.splits)):
        yield f"the Merkle root is {snapshot.root}, that of its shards is {root}"


def _split_inconsistencies(snapshot: Snapshot, name: str, split: Split) -> Iterator[str]:
    for field in snapshot.fields:
        shards = [shard for shard in split.shards if shard.field == field.name]
        records = sum(shard.records for shard in shards)
        if records != split.records:
            yield f"split {name}: field {field.name} has {records} records, the split has {split.records}"
        for shard in shards:
            if shard.size != field.stored_bytes(shard.records):
                yield f"{shard.path}: {shard.size} bytes for {shard.records} records of field {field.name}"
    known = {field.name: len(field.classes or ()) for field in snapshot.fields}
    for shard in split.shards:
        if shard.field not in known:
            yield f"{shard.path}: field {shard.field!r} is not in the schema"
    for field_name, counts in split.counts.items():
        if len(counts) != known.get(field_name) or sum(counts) != split.records:
            yield f"split {name}: the counts of {field_name!r} do not add up"


def shard_problem(folder: Path, shard: Shard) -> str | None:
    """What is wrong with a shard's file, in words; None if nothing. Raises NotFoundError when it can't be read."""
    path = folder / shard.path
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(READ_SIZE):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise NotFoundError(f"{path}: cannot read the shard: {error.strerror}") from error
    if size != shard.size:
        return f"{path}: the shard has {size} bytes, its snapshot says {shard.size}"
    if digest.hexdigest() != shard.sha256:
        return f"{path}: the shard's sha256 is {digest.hexdigest()}, its snapshot says {shard.sha256}"
    return None
