"""The dynamic linker's cache (/etc/ld.so.cache), read without trust: which library it names, and where.

Source: glibc's sysdeps/generic/dl-cache.h, `cache_file_new`: magic and version, counts, then 24 bytes an entry, whose
names are offsets from the file's beginning.
"""

from __future__ import annotations

import struct

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("<20sIIB3xI12x")
_ENTRY = struct.Struct("<iIIIQ")

SIZE_LIMIT = 16 << 20
"""Bytes; a desktop's has 0.2 MB."""


def cached_libraries(data: bytes) -> list[tuple[str, str]]:
    """(library's name, path) of every entry.

    Raises:
        ValueError: it is not a cache in glibc's present format.
    """
    if len(data) > SIZE_LIMIT or len(data) < _HEADER.size:
        raise ValueError(f"it has {len(data)} bytes")
    magic, count, _, _, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("it is not in glibc's present format")
    if _HEADER.size + count * _ENTRY.size > len(data):
        raise ValueError("it is cut short")
    entries = (_ENTRY.unpack_from(data, _HEADER.size + number * _ENTRY.size) for number in range(count))
    return [(_text(data, key), _text(data, value)) for _, key, value, _, _ in entries]


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start)
    if not 0 < start < end:
        raise ValueError("a name lies outside of it")
    return data[start:end].decode("utf-8", "surrogateescape")
