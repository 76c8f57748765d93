"""The members of a layer's tar, read forwards.

A layer has thousands of small files, so the time a header takes counts: `tarfile` took 60 µs of it a file, which was
half of all; this takes a fifth. It reads what layers hold (POSIX.1-2017 ustar and pax, GNU long names and sizes), gives
no default for what it doesn't understand, and refuses it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reprise.engine.layer_stream import LayerStream
from reprise_trainer.errors import InputError

BLOCK = 512

HEADER_BYTES = 1 << 20
"""Extended headers, which are read into memory, are not larger."""

Kind = Literal["file", "folder", "link", "sparse", "other"]

_HEADER = struct.Struct("100s8s16x12s12s8sc100s6s82x155s12x")
"""name, mode, size, mtime, checksum, type, link's target, magic, prefix (pax, "ustar Interchange Format")."""

_CHECKSUM_FIELD = slice(148, 156)
_KINDS: dict[bytes, Kind] = {b"0": "file", b"\0": "file", b"5": "folder", b"2": "link", b"S": "sparse"}
_PAX, _LONG_NAME, _LONG_LINK = b"x", b"L", b"K"
_EXTENSIONS = (_PAX, _LONG_NAME, _LONG_LINK, b"g", b"X")
_END = bytes(BLOCK)
_SIZE = re.compile(r"[0-9]{1,18}")
_TIME = re.compile(r"(-?[0-9]{1,18})(\.[0-9]*)?")
"""18 digits are fewer than what the kernel counts seconds and bytes with (63 bits)."""


@dataclass(slots=True)
class Member:
    """What one entry says: `path` as it is written, `size` in bytes, `mtime` in whole seconds, a link's `target`."""

    path: str
    kind: Kind
    mode: int
    size: int
    mtime: int
    target: str


def read_members(stream: LayerStream) -> Iterator[Member]:
    """The members up to the archive's end. After each, the caller takes its bytes from the stream, with their padding.

    Raises:
        InputError: it is no tar, it breaks off, or a header is larger than `HEADER_BYTES`.
    """
    extended: dict[str, str] = {}
    while (block := stream.read(BLOCK)) and block != _END:
        member, kind = _member(block)
        if kind in _EXTENSIONS:
            if member.size > HEADER_BYTES:
                raise InputError(
                    f"a layer has a tar header of {member.size:,} bytes; at most {HEADER_BYTES:,} are read"
                )
            extended |= _extension(kind, _body(stream, member.size))
            continue
        if extended:
            _extend(member, extended)
            extended = {}
        yield member


def _member(block: bytes) -> tuple[Member, bytes]:
    """A header's member as far as this one block says it, and its type."""
    if len(block) < BLOCK:
        raise InputError("a layer is not a tar archive: it breaks off within a header")
    name, mode, size, mtime, checksum, kind, target, magic, prefix = _HEADER.unpack(block)
    if _number(checksum) != sum(block) - sum(block[_CHECKSUM_FIELD]) + 8 * 32:  # the field itself counts as spaces
        raise InputError("a layer is not a tar archive: a header's checksum is wrong")
    path = _text(name)
    if prefix[0] and magic == b"ustar\0":
        path = f"{_text(prefix)}/{path}"
    member = Member(path, _KINDS.get(kind, "other"), _number(mode), _number(size), _number(mtime), _text(target))
    return member, kind


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    """An octal number, or GNU's and star's binary one, which begins with a byte of 0x80."""
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
        if number >> 63:
            raise InputError(f"a layer is not a tar archive: {field!r} is too large a number")
        return number
    digits = field.strip(b"\0 ")
    if digits.translate(None, b"01234567"):
        raise InputError(f"a layer is not a tar archive: {field!r} is no number")
    return int(digits or b"0", 8)


def _body(stream: LayerStream, size: int) -> bytes:
    data = stream.read(size + -size % BLOCK)
    if len(data) < size:
        raise InputError("a layer is not a tar archive: it breaks off within an extended header")
    return data[:size]


def _extension(kind: bytes, body: bytes) -> dict[str, str]:
    """What an extended header says about the next member, by pax's names."""
    if kind == _LONG_NAME:
        return {"path": _text(body)}
    if kind == _LONG_LINK:
        return {"linkpath": _text(body)}
    if kind != _PAX:
        raise InputError("a layer has a tar header that holds for more than one file, or one of a kind of its own")
    records: dict[str, str] = {}
    while body:
        length = body.partition(b" ")[0]
        end = int(length) if length.isdigit() and len(length) <= len(str(HEADER_BYTES)) else 0
        key, equals, value = body[len(length) + 1 : max(end - 1, 0)].partition(b"=")
        if not equals or body[end - 1 : end] != b"\n":
            raise InputError("a layer is not a tar archive: a pax record is damaged")
        records[key.decode(errors="surrogateescape")] = value.decode(errors="surrogateescape")
        body = body[end:]
    return records


def _extend(member: Member, records: dict[str, str]) -> None:
    """Change what pax records change ("pax Extended Header"); those about owners and more times mean nothing here."""
    member.path = records.get("path", member.path)
    member.target = records.get("linkpath", member.target)
    size = _SIZE.fullmatch(records.get("size", str(member.size)))
    mtime = _TIME.fullmatch(records.get("mtime", str(member.mtime)))
    if not size or not mtime:
        raise InputError(f"a layer is not a tar archive: a pax record of {member.path!r} is no number, or too large")
    member.size, member.mtime = int(size[0]), int(mtime[1])
    if any(key.startswith("GNU.sparse.") for key in records):
        member.kind = "sparse"
