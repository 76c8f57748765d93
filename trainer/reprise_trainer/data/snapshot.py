"""The snapshot: an immutable data set, a folder of raw shards and the canonical JSON document that names them.

A snapshot's digest is the digest of `snapshot.json`, which holds the sha256 of every shard: so the digest names every
byte. Each shard holds one field of consecutive records, C order, little-endian, with no header.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError, NotFoundError, RefusedError

DOCUMENT = "snapshot.json"
READ_SIZE = 1 << 20
"""Bytes a read while hashing; large enough that threads hash side by side (hashlib frees the interpreter lock)."""

_SHA256 = r"^[0-9a-f]{64}$"
_DTYPE_SIZES = {"uint8": 1, "int32": 4, "int64": 8, "float32": 4}


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class RecordField(_Document):
    """One field of a record: its element type, its shape (empty for a scalar) and, for labels, the classes' names."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    dtype: Literal["uint8", "int32", "int64", "float32"]
    shape: tuple[int, ...]
    classes: tuple[str, ...] | None = None

    @property
    def record_bytes(self) -> int:
        """Bytes of this field in one record."""
        size = _DTYPE_SIZES[self.dtype]
        for extent in self.shape:
            size *= extent
        return size


class Shard(_Document):
    """One file: `records` consecutive records of one field; `size` in bytes; `path` relative to the snapshot."""

    path: str = Field(pattern=r"^shards/[A-Za-z0-9._-]+$")
    field: str
    sha256: str = Field(pattern=_SHA256)
    records: int = Field(ge=1)
    size: int = Field(alias="bytes", ge=1)


class Split(_Document):
    """A split's record count and its shards; a field's shards follow each other in record order."""

    records: int = Field(ge=1)
    shards: tuple[Shard, ...]


class Provenance(_Document):
    """The artifact that the snapshot was made from: package URL and bare-hex sha256."""

    artifact: str
    sha256: str = Field(pattern=_SHA256)


class Snapshot(_Document):
    """What `snapshot.json` says."""

    format: Literal[1] = 1
    name: str
    fields: tuple[RecordField, ...] = Field(alias="schema")
    splits: dict[str, Split]
    provenance: Provenance
    licence: str

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


@dataclass(frozen=True, slots=True)
class OpenSnapshot:
    """A snapshot whose document and shards were checked. `size` counts the bytes of all shards."""

    folder: Path
    snapshot: Snapshot
    digest: str
    size: int


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
    path = folder / DOCUMENT
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path}: no snapshot to read: {error.strerror}") from error
    digest = sha256_digest(data)
    if expected is not None and digest != expected:
        raise RefusedError(f"{path}: the snapshot is {digest}, expected {expected}")
    snapshot = decode_snapshot(data, where=str(path))
    shards = [shard for split in snapshot.splits.values() for shard in split.shards]
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for problem in pool.map(lambda shard: _shard_problem(folder, shard), shards):
            if problem:
                raise RefusedError(problem)
    return OpenSnapshot(folder, snapshot, digest, sum(shard.size for shard in shards))


def _inconsistencies(snapshot: Snapshot) -> Iterator[str]:
    names = [field.name for field in snapshot.fields]
    if len(set(names)) != len(names) or not names:
        yield "the schema is empty or names a field twice"
    paths = [shard.path for split in snapshot.splits.values() for shard in split.shards]
    if len(set(paths)) != len(paths):
        yield "two shards have one path"
    for split_name, split in sorted(snapshot.splits.items()):
        for field in snapshot.fields:
            shards = [shard for shard in split.shards if shard.field == field.name]
            records = sum(shard.records for shard in shards)
            if records != split.records:
                yield f"split {split_name}: field {field.name} has {records} records, the split has {split.records}"
            for shard in shards:
                if shard.size != shard.records * field.record_bytes:
                    yield f"{shard.path}: {shard.size} bytes for {shard.records} records of {field.record_bytes} bytes"
        for shard in split.shards:
            if shard.field not in names:
                yield f"{shard.path}: field {shard.field!r} is not in the schema"


def _shard_problem(folder: Path, shard: Shard) -> str | None:
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
