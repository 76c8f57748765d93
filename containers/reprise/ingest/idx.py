"""idx files, as MNIST's authors defined them: one array of any dimensions.

Source of the format: the MNIST page's "FILE FORMATS": two zero bytes, one byte for the element type, one for the number
of dimensions, a big-endian 32-bit extent a dimension, then the elements, big-endian.
"""

from __future__ import annotations

import array
import math
import struct
import sys
import zlib
from dataclasses import dataclass
from typing import Literal

from reprise_trainer.errors import InputError

SIZE_LIMIT = 4 << 30
"""Bytes that a compressed file may hold; a larger one belongs into Parquet or an archive of shards."""

_Dtype = Literal["uint8", "int32", "float32"]
_TYPES: dict[int, tuple[_Dtype, str]] = {0x08: ("uint8", "B"), 0x0C: ("int32", "i"), 0x0D: ("float32", "f")}


@dataclass(frozen=True, slots=True)
class IdxArray:
    """An array: element type, shape (records first), bytes in C order, little-endian."""

    dtype: _Dtype
    shape: tuple[int, ...]
    data: bytes


def read_idx(data: bytes, name: str) -> IdxArray:
    """The array in an idx file's bytes, gzipped or not.

    Args:
        data: the file.
        name: its name, for messages.

    Raises:
        InputError: not gzip though it looks so, cut short, another magic number, or a size that isn't its shape's.
    """
    if data[:2] == b"\x1f\x8b" or name.endswith(".gz"):
        data = gunzip(data, name)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise InputError(
            f"{name}: the magic number is 0x{data[:4].hex() or '0'}, expected 0x0000, a type "
            f"({', '.join(f'{each:#04x}' for each in _TYPES)}) and a number of dimensions"
        )
    dtype, code = _TYPES[data[2]]
    header = struct.Struct(f">{1 + data[3]}I")
    if len(data) < header.size:
        raise InputError(f"{name}: {len(data)} bytes are too few for an idx header")
    _, *shape = header.unpack_from(data)
    elements = array.array(code)
    expected = math.prod(shape) * elements.itemsize
    body = data[header.size :]
    if len(body) != expected:
        raise InputError(f"{name}: {len(body)} bytes after the header, expected {expected} for shape {tuple(shape)}")
    if elements.itemsize > 1 and sys.byteorder == "little":
        elements.frombytes(body)
        elements.byteswap()
        body = elements.tobytes()
    return IdxArray(dtype, tuple(shape), body)


def gunzip(data: bytes, name: str) -> bytes:
    """What a gzip file holds.

    Raises:
        InputError: it is none, is cut short, or holds more than the limit.
    """
    try:
        decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        found = decompressor.decompress(data, SIZE_LIMIT)
    except zlib.error as error:
        raise InputError(f"{name}: not a gzip file: {error}") from error
    if not decompressor.eof:
        raise InputError(f"{name}: the gzip file is cut short, or holds more than {SIZE_LIMIT} bytes")
    return found
