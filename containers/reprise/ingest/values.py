"""Are the values of a field what they may be: finite, inside their range, one of their classes? Which are equal?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from reprise_trainer.data.snapshot import RecordField

_CODES: dict[str, Literal["B", "i", "q", "f"]] = {"uint8": "B", "int32": "i", "int64": "q", "float32": "f"}
"""Element type → `struct`'s code of it; hosts are little-endian, as images are."""


_NEGATIVE_ZERO = b"\0\0\0\x80"
_ALL_BUT_SIGN = bytes(0 if byte == 0x80 else 0xFF for byte in range(256))
_KEPT = bytes([0x7F]) + b"\xff" * 255


def as_compared(field: RecordField, data: bytes) -> bytes:
    """A column's bytes as equality takes them: those that are stored, but -0.0 as 0.0. `data` holds no NaN."""
    if field.dtype != "float32" or _NEGATIVE_ZERO not in data:
        return data
    # Each of a value's four bytes for all values at once, as one long number: a loop over the values takes several
    # times as long, and zeros before a 1.0 bring nearly every one-hot column here.
    *low, top = (data[place::4] for place in range(4))
    differs = int.from_bytes(top.translate(_ALL_BUT_SIGN), "little")
    for each in low:
        differs |= int.from_bytes(each, "little")
    kept = int.from_bytes(differs.to_bytes(len(top), "little").translate(_KEPT), "little")
    made = bytearray(data)
    made[3::4] = (int.from_bytes(top, "little") & kept).to_bytes(len(top), "little")
    return bytes(made)


def value_range(field: RecordField, data: bytes) -> tuple[float, float]:
    """The smallest and the largest value of a column; both NaN where one value is not a finite number."""
    if field.dtype == "uint8":  # a search for one byte is fast, a loop over all is not
        found = [value for value in range(256) if value in data] if len(data) < 1 << 12 else _byte_range(data)
        return found[0], found[-1]
    values: memoryview[int] | memoryview[float] = memoryview(data).cast(_CODES[field.dtype])
    if field.dtype == "float32" and not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return min(values), max(values)


def _byte_range(data: bytes) -> list[int]:
    lowest = next(value for value in range(256) if value in data)
    highest = next(value for value in range(255, -1, -1) if value in data)
    return [lowest, highest]


def allowed_range(field: RecordField, limits: tuple[float, float] | None) -> tuple[float, float]:
    """What the values of a field may be: in its label set, and inside what the configuration says; else finite."""
    low, high = limits or (-math.inf, math.inf)
    if field.classes is not None:
        return max(low, 0), min(high, len(field.classes) - 1)
    return low, high


def bad_records(field: RecordField, data: bytes, low: float, high: float) -> Iterator[tuple[int, str]]:
    """The records with a value that is not allowed: number in the column, and why; one reason a record."""
    values: memoryview[int] | memoryview[float] = memoryview(data).cast(_CODES[field.dtype])
    size = math.prod(field.shape)
    for record in range(len(values) // size):
        for value in values[record * size : (record + 1) * size]:
            if not math.isfinite(value):
                yield record, f"{field.name} is {value}, a missing value"
                break
            if not low <= value <= high:
                yield record, f"{field.name} is {value}, expected {low:g} to {high:g}"
                break
