"""A reading of a source → a snapshot folder, whole or not at all; or the document alone, for a look beforehand."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reprise.ingest.rows import Reading
from reprise.ingest.splits import Equals, Part, find_equals, make_parts
from reprise.ingest.staging import StagedSplit
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.data import DataRules
from reprise_trainer.data.croissant import FILE_NAME as CROISSANT
from reprise_trainer.data.croissant import croissant_json
from reprise_trainer.data.snapshot import (
    DOCUMENT,
    RecordField,
    Shard,
    Snapshot,
    Source,
    Split,
    decode_snapshot,
    encode_snapshot,
    shards_root,
)
from reprise_trainer.durable import storage_error, sync_folder, write_durably
from reprise_trainer.errors import InputError, StorageError

SHARD_BYTES = 16 << 20
"""Aim for the largest field of a shard: enough shards to hash in parallel, few enough to be readable in a listing."""

SHARD_RECORDS = 1 << 20


@dataclass(frozen=True, slots=True)
class Written:
    """A snapshot's document and its digest."""

    snapshot: Snapshot
    digest: str


def write_snapshot(folder: Path, reading: Reading, rules: DataRules, sources: Sequence[Source]) -> Written:
    """Write the snapshot of `reading` into `folder`.

    Args:
        folder: must not exist; its parent is made.
        reading: fields and rows.
        rules: names, splits, and what is refused.
        sources: what the reading reads.

    Raises:
        InputError: bad rows, duplicates or leakage that `rules` refuse, or a split without records; each with file and
            row.
        StorageError: the folder can't be written, or exists.
    """
    if folder.exists():
        raise StorageError(f"{folder}: exists already; a snapshot is never written over")
    aside: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        made = aside / "made"
        (made / "shards").mkdir(parents=True)
        written = _write(made, aside / "staged", reading, rules, sources)
        document = encode_snapshot(written.snapshot)
        decode_snapshot(document)  # so that no reader's mistake leaves a folder that nothing can open
        write_durably(made / DOCUMENT, document)
        write_durably(made / CROISSANT, croissant_json(written.snapshot, written.digest))
        made.chmod(0o755)
        made.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise storage_error(error, folder) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    return written


def _write(made: Path, staging: Path, reading: Reading, rules: DataRules, sources: Sequence[Source]) -> Written:
    staged = _stage(staging, reading, rules)
    parts = make_parts(staged, rules.splits, rules.split_key)
    equals = find_equals(parts)
    _refuse_equals(equals, rules)
    fields = [_with_range(field, list(staged.values())) for field in reading.fields]
    splits = {part.name: _write_part(made, part, fields, equals) for part in parts}
    snapshot = Snapshot(
        name=rules.name,
        description=rules.description,
        fields=tuple(fields),
        splits=splits,
        root=shards_root(splits),
        sources=tuple(sources),
        licence=rules.licence or reading.licence or "unknown",
        preprocessing=reading.preprocessing,
        biases=rules.biases,
        groups=tuple(rules.groups),
        leaks=equals.leaks,
    )
    return Written(snapshot, sha256_digest(encode_snapshot(snapshot)))


def _stage(folder: Path, reading: Reading, rules: DataRules) -> dict[str, StagedSplit]:
    labels = {field.name for field in reading.fields if field.is_label}
    if unknown := sorted(set(rules.groups) - labels):
        raise InputError(f"data.groups: {unknown[0]!r} is not a field with classes; there are {sorted(labels)}")
    staged = {}
    for name, source in reading.splits.items():
        staged[name] = StagedSplit(folder / name, reading.fields, reading.limits)
        staged[name].fill(source)
    bad = [row for each in staged.values() for row in each.bad]
    if bad and rules.bad_rows == "refuse":
        count = sum(each.bad_count for each in staged.values())
        shown = "; ".join([*map(str, bad[:5]), *(["…"] if count > 5 else [])])
        raise InputError(
            f"{count} bad row{'s' if count > 1 else ''}: {shown}",
            hint='`bad_rows = "drop"` in [data] leaves them out, and counts them in the snapshot.',
        )
    if empty := [name for name, each in staged.items() if not each.records]:
        raise InputError(f"split {empty[0]!r} has no record")
    return staged


def _refuse_equals(equals: Equals, rules: DataRules) -> None:
    if equals.leaks and rules.leakage == "refuse":
        raise InputError(
            f"{equals.leaks} records of one split equal one of another (leakage): " + "; ".join(equals.leak_examples),
            hint='Take them out of one of the two; `leakage = "allow"` in [data] counts them in the snapshot instead.',
        )
    count = sum(equals.duplicates.values())
    if count and rules.duplicates == "refuse":
        raise InputError(
            f"{count} records equal an earlier one of their split: " + "; ".join(equals.duplicate_examples),
            hint='`duplicates = "allow"` in [data] counts them in the snapshot instead.',
        )


def _with_range(field: RecordField, staged: Sequence[StagedSplit]) -> RecordField:
    low = min(each.ranges[field.name][0] for each in staged)
    high = max(each.ranges[field.name][1] for each in staged)
    found = (float(low).hex(), float(high).hex()) if field.dtype == "float32" else (int(low), int(high))
    return field.model_copy(update={"range": found})


def _write_part(folder: Path, part: Part, fields: Sequence[RecordField], equals: Equals) -> Split:
    if not len(part.chosen):
        raise InputError(f"split {part.name!r} has no record: all that it would have equal one that stays in train")
    step = _records_per_shard(fields)
    shards = [
        _write_shard(folder, part, field, number, part.chosen[start : start + step])
        for field in fields
        for number, start in enumerate(range(0, len(part.chosen), step))
    ]
    counts = {field.name: _counts(part, field) for field in fields if field.is_label}
    dropped = part.staged.bad_count if part.rule.kind == "given" else 0
    return Split(
        records=len(part.chosen),
        shards=tuple(shards),
        rule=part.rule,
        counts=counts,
        duplicates=equals.duplicates[part.name],
        dropped=dropped,
    )


def _records_per_shard(fields: Sequence[RecordField]) -> int:
    """A power of two of records, the same for every field, so that one cut goes through all of them."""
    largest = max(field.stored_bytes(2) - field.stored_bytes(1) for field in fields)
    return int(min(SHARD_RECORDS, 1 << max(0, (SHARD_BYTES // largest).bit_length() - 1)))


def _write_shard(folder: Path, part: Part, field: RecordField, number: int, chosen: Sequence[int]) -> Shard:
    data = _bytes_of(part.staged, field, chosen)
    path = f"shards/{part.name}-{number:05d}.{field.name}.bin"
    write_durably(folder / path, data)
    digest = hashlib.sha256(data).hexdigest()
    return Shard(path=path, field=field.name, sha256=digest, records=len(chosen), size=len(data))


def _bytes_of(staged: StagedSplit, field: RecordField, chosen: Sequence[int]) -> bytes:
    column, size = staged.column(field), field.record_bytes
    if isinstance(chosen, range):
        first = chosen.start * (size if field.stride is None else field.stride * field.element_bytes)
        return bytes(column[first : first + field.stored_bytes(len(chosen))])
    return b"".join(column[record * size : (record + 1) * size] for record in chosen)


def _counts(part: Part, field: RecordField) -> tuple[int, ...]:
    """Records of each class."""
    data, size = part.staged.column(field), field.element_bytes
    counts = [0] * len(field.classes or ())
    for record in part.chosen:
        counts[int.from_bytes(data[record * size : (record + 1) * size], "little")] += 1
    return tuple(counts)
