"""Members of a zip file as content that can be read in any order, by threads and by forked processes.

Python's `zipfile` reads the directory; the members' bytes are read here, since its file objects take one lock and copy
each byte several times.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise_trainer.errors import InputError

deflate: Any
try:
    from isal import isal_zlib

    deflate = isal_zlib  # a third less time; what comes out is the same whoever inflates
except ImportError:
    import zlib

    deflate = zlib

_LOCAL_HEADER = 30
_PIECE = 1 << 20
"""Bytes given out at once: large enough that Python's share of the work is small."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a zip: its name, size in bytes, whether it is a program, and its bytes."""

    name: str
    size: int
    executable: bool
    content: Callable[[], Iterable[bytes]]


def read_members(path: Path, artifact: str) -> list[Member]:
    """All files (not folders) in a zip, in the zip's own order.

    Args:
        path: the zip file; it must stay as it is for as long as the members are read.
        artifact: its name for messages.

    Raises:
        InputError: not a zip, or one with what wheels don't have: encryption, other methods than stored and deflate.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, EOFError) as error:
        raise InputError(f"{artifact} is not a zip file that can be read: {error}") from error
    return [_member(path, info, artifact) for info in infos if not info.is_dir()]


def _member(path: Path, info: zipfile.ZipInfo, artifact: str) -> Member:
    if info.flag_bits & 0x1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{artifact} has a member {info.filename!r} that is encrypted or compressed in an unknown way")
    mode = info.external_attr >> 16
    executable = bool(stat.S_ISREG(mode) and mode & 0o111)
    return Member(info.filename, info.file_size, executable, lambda: _content(path, info, artifact))


def _content(path: Path, info: zipfile.ZipInfo, artifact: str) -> Iterator[bytes]:
    """The member's bytes in pieces, checked against its size and CRC."""
    checksum, size = 0, 0
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for piece in _inflated(descriptor, info):
            checksum = deflate.crc32(piece, checksum)
            size += len(piece)
            yield piece
    except deflate.error as error:
        raise InputError(f"{artifact} is damaged: {info.filename!r} does not inflate ({error})") from error
    finally:
        os.close(descriptor)
    if (checksum, size) != (info.CRC, info.file_size):
        raise InputError(f"{artifact} is damaged: {info.filename!r} has not the size and checksum that its zip says")


def _inflated(descriptor: int, info: zipfile.ZipInfo) -> Iterator[bytes]:
    position, end = _extent(descriptor, info)
    if info.compress_type == zipfile.ZIP_STORED:
        for at in range(position, end, _PIECE):
            yield os.pread(descriptor, min(_PIECE, end - at), at)
        return
    if info.file_size <= _PIECE:
        yield deflate.decompressobj(-deflate.MAX_WBITS).decompress(
            os.pread(descriptor, end - position, position), _PIECE + 1
        )
        return
    inflate = deflate.decompressobj(-deflate.MAX_WBITS)
    for at in range(position, end, _PIECE // 4):
        data = os.pread(descriptor, min(_PIECE // 4, end - at), at)
        while data:
            yield inflate.decompress(data, _PIECE)
            data = inflate.unconsumed_tail
    yield inflate.flush()


def _extent(descriptor: int, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Where the member's compressed bytes are. Its local header may have other extra fields than the directory's."""
    local = os.pread(descriptor, _LOCAL_HEADER, info.header_offset)
    if len(local) < _LOCAL_HEADER or not local.startswith(b"PK\x03\x04"):
        raise deflate.error("its local header is missing")
    start = info.header_offset + _LOCAL_HEADER + int.from_bytes(local[26:28], "little")
    start += int.from_bytes(local[28:30], "little")
    return start, start + info.compress_size
