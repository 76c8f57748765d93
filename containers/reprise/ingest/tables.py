"""Rows of named columns → records: what CSV, JSON lines, Parquet and Hugging Face's tables have in common."""

from __future__ import annotations

import array
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reprise.ingest.pictures import decode_picture
from reprise.ingest.rows import BadRow, Reading, Rows
from reprise_trainer.config.data import FieldRule
from reprise_trainer.data.snapshot import Preprocessing, RecordField
from reprise_trainer.errors import InputError

TableRow = tuple[int, Mapping[str, Any] | str]
"""A row's number, and its columns by name; or, where it can't be read, why."""

CHUNK = 4096
"""Rows put aside at a time."""

_CODES: dict[str, Literal["B", "i", "q", "f"]] = {"uint8": "B", "int32": "i", "int64": "q", "float32": "f"}
_SMALL_LABELS = 256


@dataclass(frozen=True, slots=True)
class TableField:
    """A field and the columns that make it."""

    field: RecordField
    columns: tuple[str, ...]


def table_fields(rules: Mapping[str, FieldRule], classes: Mapping[str, tuple[str, ...]] = {}) -> list[TableField]:
    """The fields that a configuration describes.

    Args:
        rules: field name → its table.
        classes: label sets that the source itself names, by column.

    Raises:
        InputError: a rule contradicts itself.
    """
    return [_table_field(name, rule, classes) for name, rule in rules.items()]


def present_columns(names: list[str], wanted: Iterable[str], file: str) -> list[str]:
    """The wanted columns of a file that has `names`, each once.

    Raises:
        InputError: it lacks one.
    """
    columns = list(dict.fromkeys(wanted))
    if missing := [column for column in columns if column not in names]:
        raise InputError(f"{file}: there is no column {missing[0]!r}; it has {', '.join(names)}")
    return columns


def _table_field(name: str, rule: FieldRule, classes: Mapping[str, tuple[str, ...]]) -> TableField:
    columns = tuple(rule.columns) or (name,)
    labels = tuple(rule.classes) if rule.classes is not None else classes.get(columns[0])
    if labels is not None:
        if len(columns) > 1 or rule.shape or rule.dtype == "float32":
            raise InputError(f"data.fields.{name}: a field with classes is one column of whole numbers or names")
        if len(set(labels)) < len(labels):
            raise InputError(f"data.fields.{name}.classes: a name stands there twice")
    dtype = rule.dtype or (("uint8" if len(labels) <= _SMALL_LABELS else "int32") if labels else "float32")
    shape = tuple(rule.shape) if rule.shape is not None else ((len(columns),) if len(columns) > 1 else ())
    return TableField(RecordField(name=name, dtype=dtype, shape=shape, classes=labels), columns)


def table_reading(
    fields: list[TableField], rules: Mapping[str, FieldRule], splits: Mapping[str, tuple[str, Iterable[TableRow]]]
) -> Reading:
    """The reading of tables.

    Args:
        fields: from `table_fields`.
        rules: the same fields' tables, for the ranges.
        splits: split name → the file's name and its rows.
    """
    steps = tuple(
        Preprocessing(step="columns", parameters={"field": each.field.name, "columns": each.columns}) for each in fields
    )
    return Reading(
        tuple(each.field for each in fields),
        {name: _rows(fields, file, source) for name, (file, source) in splits.items()},
        steps,
        limits=rule_limits(rules),
    )


def rule_limits(rules: Mapping[str, FieldRule]) -> dict[str, tuple[float, float]]:
    """Field name → what `range` allows."""
    return {name: (rule.range[0], rule.range[1]) for name, rule in rules.items() if rule.range is not None}


def _rows(fields: list[TableField], file: str, source: Iterable[TableRow]) -> Iterator[Rows]:
    numbers: list[int] = []
    bad: list[BadRow] = []
    columns = {each.field.name: bytearray() for each in fields}
    for number, row in source:
        try:
            values = [_record(each, row) for each in fields]
        except _BadValueError as error:
            bad.append(BadRow(file, number, str(error)))
            continue
        for each, value in zip(fields, values, strict=True):
            columns[each.field.name] += value
        numbers.append(number)
        if len(numbers) == CHUNK:
            yield Rows(file, numbers, {name: bytes(data) for name, data in columns.items()}, tuple(bad))
            numbers, bad, columns = [], [], {name: bytearray() for name in columns}
    yield Rows(file, numbers, {name: bytes(data) for name, data in columns.items()}, tuple(bad))


class _BadValueError(Exception):
    pass


def _record(wanted: TableField, row: Mapping[str, Any] | str) -> bytes:
    """The bytes of one field of one row."""
    if isinstance(row, str):
        raise _BadValueError(row)
    field, flat = wanted.field, list[Any]()
    for column in wanted.columns:
        if column not in row:
            raise _BadValueError(f"there is no column {column!r}")
        value = row[column]
        if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):
            return _picture(wanted, column, value["bytes"])
        _flatten(value, flat)
    if len(flat) != math.prod(field.shape):
        raise _BadValueError(f"{field.name} has {len(flat)} values, expected {math.prod(field.shape)}")
    try:
        return array.array(_CODES[field.dtype], [_number(field, value) for value in flat]).tobytes()
    except OverflowError as error:
        raise _BadValueError(f"{field.name} is {flat}, too large for {field.dtype}") from error


def _picture(wanted: TableField, column: str, data: bytes) -> bytes:
    """The pixels of an image in a cell; the whole field, so a rule that wants anything else of it is refused."""
    field = wanted.field
    if field.dtype != "uint8" or len(wanted.columns) > 1:
        raise InputError(
            f"data.fields.{field.name}: column {column!r} holds images, which make a field of uint8 each; "
            f"this one is {field.dtype}, of {len(wanted.columns)} column{'s' if len(wanted.columns) > 1 else ''}",
            hint=f'Say `dtype = "uint8"` in [data.fields.{field.name}], and name no other column there.',
        )
    try:
        return decode_picture(data, field.shape)
    except ValueError as error:
        raise _BadValueError(f"{column}: {error}") from error


def _flatten(value: Any, into: list[Any]) -> None:
    if isinstance(value, list | tuple):
        for each in value:
            _flatten(each, into)
    else:
        into.append(value)


def _number(field: RecordField, value: Any) -> float:
    """A cell as a number of the field's type."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        raise _BadValueError(f"{field.name} is missing")
    if field.classes is not None and isinstance(value, str):
        if value not in field.classes:
            raise _BadValueError(f"{field.name} is {value!r}, which is not one of {_few(field.classes)}")
        return field.classes.index(value)
    try:
        number = float(value) if field.dtype == "float32" else int(value)
    except (TypeError, ValueError) as error:
        raise _BadValueError(f"{field.name} is {value!r}, expected {field.dtype}") from error
    if isinstance(value, float) and number != value:
        raise _BadValueError(f"{field.name} is {value!r}, expected a whole number")
    return number


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
