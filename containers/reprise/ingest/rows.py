"""What every reader of a format gives: the fields of a record, and rows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from reprise_trainer.data.snapshot import Preprocessing, RecordField

WHOLE_FILE = -1
"""The number of a row that is a file of its own."""


def row_name(file: str, number: int) -> str:
    """How messages name a row."""
    return file if number == WHOLE_FILE else f"{file}, row {number}"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be a record: its number in its file, and why."""

    file: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{row_name(self.file, self.number)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Rows:
    """Some records of one file, in order.

    Args:
        file: the file's name, for messages.
        numbers: each record's row number, counted as the format's users do.
        columns: field name → the field's values of all these records, C order, little-endian.
        bad: rows of the same stretch of the file that are not among the records.
    """

    file: str
    numbers: Sequence[int]
    columns: Mapping[str, bytes]
    bad: tuple[BadRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """A source that can be read: its fields, and the rows of each split that it has.

    Args:
        fields: the schema; ranges are found later.
        splits: split name → its rows, read once.
        preprocessing: what the reader does to the source's values.
        licence: used where the configuration names none.
        limits: field name → smallest and largest value that is allowed.
    """

    fields: tuple[RecordField, ...]
    splits: Mapping[str, Iterable[Rows]]
    preprocessing: tuple[Preprocessing, ...] = ()
    licence: str = ""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
