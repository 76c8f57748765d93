"""The records of one split as its source gives them, put aside on disk until it is known which of them are kept."""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from reprise.ingest.rows import BadRow, Rows, row_name
from reprise.ingest.values import allowed_range, as_compared, bad_records, value_range
from reprise_trainer.data.snapshot import RecordField

DIGEST_SIZE = 16
"""Bytes of a record's digest: two of 2**40 records have one by chance with a probability of 2**-49."""

_EXAMPLES = 5


class StagedSplit:
    """Records of one split in source order, in files below `folder`; memory holds a digest a record.

    Args:
        folder: a folder of its own, which the caller removes.
        fields: the schema.
        limits: field name → smallest and largest value that is allowed.
    """

    def __init__(
        self, folder: Path, fields: Sequence[RecordField], limits: Mapping[str, tuple[float, float]] = {}
    ) -> None:
        self.fields = fields
        self.records = 0
        self.bad: list[BadRow] = []
        self.bad_count = 0
        self.ranges: dict[str, tuple[float, float]] = {}
        self._folder = folder
        self._limits = limits
        self._digests = bytearray()
        self._stored: dict[int, bytes] = {}
        self._starts: list[int] = []
        self._origins: list[tuple[str, Sequence[int]]] = []
        # Two records are equal when their inputs are: a label that differs makes no other record of the same image.
        inputs = [field for field in fields if not field.is_label]
        self._compared = inputs or list(fields)
        folder.mkdir(parents=True)

    def fill(self, source: Iterable[Rows]) -> None:
        """Take in every row of `source`; bad ones are counted and left out."""
        with ExitStack() as stack:
            files = {each.name: stack.enter_context((self._folder / each.name).open("wb")) for each in self.fields}
            for rows in source:
                rows = self._without_bad_values(rows)
                self._refuse(rows.bad)
                if not len(rows.numbers):
                    continue
                self._starts.append(self.records)
                self._origins.append((rows.file, rows.numbers))
                self.records += len(rows.numbers)
                for field in self.fields:
                    files[field.name].write(rows.columns[field.name])
                    self._widen(field, rows.columns[field.name])
                self._digest(rows)

    def column(self, field: RecordField) -> memoryview:
        """The stored bytes of a field, mapped into memory."""
        with (self._folder / field.name).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def digests(self, records: Iterable[int]) -> Iterator[bytes]:
        """The digests of records' inputs: equal ones are of equal records, where -0.0 equals 0.0."""
        found = bytes(self._digests)
        return (found[record * DIGEST_SIZE : (record + 1) * DIGEST_SIZE] for record in records)

    def stored_digests(self) -> Iterator[bytes]:
        """The digests of all records' inputs as they are stored, which tell -0.0 from 0.0."""
        return (self._stored.get(record, digest) for record, digest in enumerate(self.digests(range(self.records))))

    def origin(self, record: int) -> str:
        """Where a record came from: `FILE, row NUMBER`."""
        place = bisect_right(self._starts, record) - 1
        file, numbers = self._origins[place]
        return row_name(file, numbers[record - self._starts[place]])

    def _refuse(self, bad: Sequence[BadRow]) -> None:
        self.bad_count += len(bad)
        self.bad += bad[: max(0, _EXAMPLES - len(self.bad))]

    def _widen(self, field: RecordField, data: bytes) -> None:
        low, high = value_range(field, data)
        known = self.ranges.get(field.name, (low, high))
        self.ranges[field.name] = min(low, known[0]), max(high, known[1])

    def _without_bad_values(self, rows: Rows) -> Rows:
        """`rows` without the records that have a value which their field does not allow."""
        bad: dict[int, str] = {}
        for field in self.fields:
            data = rows.columns[field.name]
            low, high = allowed_range(field, self._limits.get(field.name))
            if not data or field.stride is not None:
                continue
            smallest, largest = value_range(field, data)
            if not (low <= smallest and largest <= high):  # NaN is inside nothing
                bad |= {record: reason for record, reason in bad_records(field, data, low, high) if record not in bad}
        if not bad:
            return rows
        kept = [record for record in range(len(rows.numbers)) if record not in bad]
        columns = {field.name: _only(rows.columns[field.name], field.record_bytes, kept) for field in self.fields}
        named = tuple(BadRow(rows.file, rows.numbers[record], reason) for record, reason in sorted(bad.items()))
        return Rows(rows.file, [rows.numbers[record] for record in kept], columns, rows.bad + named)

    def _digest(self, rows: Rows) -> None:
        count = len(rows.numbers)
        stored = [rows.columns[field.name] for field in self._compared]
        compared = [as_compared(field, data) for field, data in zip(self._compared, stored, strict=True)]
        self._digests += b"".join(self._hashed(compared, count))
        if compared != stored:
            first = self.records - count
            found = enumerate(zip(self._hashed(stored, count), self._hashed(compared, count), strict=True), first)
            self._stored |= {record: own for record, (own, equal) in found if own != equal}

    def _hashed(self, columns: Sequence[bytes], count: int) -> Iterator[bytes]:
        """The digests of the first `count` records in columns of the fields that are compared."""
        steps = [(memoryview(data), *_steps(field)) for field, data in zip(self._compared, columns, strict=True)]
        (data, step, length), *others = steps
        for record in range(count):
            digest = hashlib.blake2b(data[record * step : record * step + length], digest_size=DIGEST_SIZE)
            for other, other_step, other_length in others:
                digest.update(other[record * other_step : record * other_step + other_length])
            yield digest.digest()


def _steps(field: RecordField) -> tuple[int, int]:
    """Bytes from a record to the next, and bytes of a record."""
    step = field.record_bytes if field.stride is None else field.stride * field.element_bytes
    return step, field.record_bytes


def _only(data: bytes, size: int, records: Sequence[int]) -> bytes:
    return b"".join(data[record * size : (record + 1) * size] for record in records)
