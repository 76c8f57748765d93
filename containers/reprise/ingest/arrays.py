"""Arrays in files of their own, a file a field: NumPy's `.npy` and idx, both also gzipped."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from reprise.ingest.extra import need
from reprise.ingest.files import SourceFile
from reprise.ingest.idx import gunzip, read_idx
from reprise.ingest.rows import Reading, Rows
from reprise.ingest.tables import rule_limits
from reprise_trainer.config.data import Dtype, FieldRule
from reprise_trainer.data.snapshot import RecordField
from reprise_trainer.errors import InputError

CHUNK_BYTES = 32 << 20
_NPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class _Array:
    """An array: element type, shape of a record, number of records, bytes in C order, little-endian."""

    file: str
    dtype: Dtype
    shape: tuple[int, ...]
    records: int
    data: bytes


def read_arrays(files: Mapping[str, Mapping[str, SourceFile]], rules: Mapping[str, FieldRule]) -> Reading:
    """The rows of arrays; the first axis counts records, from 0.

    Args:
        files: split → field → its file.
        rules: field → what its values must be, for the fields that need it.

    Raises:
        InputError: a file is no array, or two of them don't fit together.
    """
    arrays = {split: {name: _read(file) for name, file in each.items()} for split, each in files.items()}
    first = next(iter(arrays.values()))
    fields = tuple(_field(name, array, rules.get(name)) for name, array in first.items())
    if unknown := sorted(rules.keys() - first.keys()):
        raise InputError(f"data.fields.{unknown[0]}: data.files names no file for it")
    for split, each in arrays.items():
        _require_fit(split, each, fields)
    return Reading(fields, {split: _rows(each, fields) for split, each in arrays.items()}, limits=rule_limits(rules))


def _read(file: SourceFile) -> _Array:
    data = file.path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gunzip(data, file.name)
    if data[: len(_NPY_MAGIC)] == _NPY_MAGIC:
        return _read_npy(data, file.name)
    found = read_idx(data, file.name.removesuffix(".gz"))
    return _Array(file.name, found.dtype, found.shape[1:], found.shape[0] if found.shape else 0, found.data)


def _read_npy(data: bytes, name: str) -> _Array:
    numpy = need("numpy", ".npy files")
    try:
        array = numpy.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{name}: not a .npy file that can be read: {error}") from error
    dtype = str(array.dtype.newbyteorder("="))
    if dtype not in get_args(Dtype) or array.ndim < 1:
        raise InputError(
            f"{name}: {array.ndim} axes of {dtype}, expected at least one, of {', '.join(get_args(Dtype))}"
        )
    little = numpy.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return _Array(name, dtype, array.shape[1:], array.shape[0], little.tobytes())  # type: ignore[arg-type]


def _field(name: str, array: _Array, rule: FieldRule | None) -> RecordField:
    classes = tuple(rule.classes) if rule and rule.classes else None
    if rule and rule.dtype not in (None, array.dtype):
        raise InputError(f"{array.file}: field {name} is {array.dtype}, the configuration says {rule.dtype}")
    if rule and rule.shape is not None and tuple(rule.shape) != array.shape:
        raise InputError(f"{array.file}: field {name} has shape {array.shape}, the configuration says {rule.shape}")
    if 0 in array.shape:
        raise InputError(f"{array.file}: a record of field {name} has shape {array.shape}, expected no extent of 0")
    if classes and (array.dtype == "float32" or array.shape):
        raise InputError(f"{array.file}: field {name} has classes, but is {array.dtype} of shape {array.shape}")
    if classes and len(set(classes)) < len(classes):
        raise InputError(f"data.fields.{name}.classes: a name stands there twice")
    return RecordField(name=name, dtype=array.dtype, shape=array.shape, classes=classes)


def _require_fit(split: str, arrays: Mapping[str, _Array], fields: tuple[RecordField, ...]) -> None:
    if list(arrays) != [field.name for field in fields]:
        raise InputError(
            f"data.files.{split} has {', '.join(arrays)}, another split has {', '.join(each.name for each in fields)}"
        )
    counts = {array.file: array.records for array in arrays.values()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{file} has {count}" for file, count in counts.items())
        raise InputError(f"split {split}: the arrays have different numbers of records: {listed}")
    for field, array in zip(fields, arrays.values(), strict=True):
        if (array.dtype, array.shape) != (field.dtype, field.shape):
            raise InputError(
                f"{array.file}: field {field.name} is {array.dtype} of shape {array.shape}, "
                f"in another split {field.dtype} of shape {field.shape}"
            )


def _rows(arrays: Mapping[str, _Array], fields: tuple[RecordField, ...]) -> Iterator[Rows]:
    count = next(iter(arrays.values())).records
    names = " with ".join(array.file for array in arrays.values())
    step = max(1, CHUNK_BYTES // max(math.prod(field.shape) * field.element_bytes for field in fields))
    for start in range(0, count, step):
        stop = min(start + step, count)
        columns = {
            field.name: arrays[field.name].data[start * field.record_bytes : stop * field.record_bytes]
            for field in fields
        }
        yield Rows(names, range(start, stop), columns)
