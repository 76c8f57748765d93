"""Canonical tar headers: one entry, one byte string.

POSIX.1-2017 "ustar" wherever its fields can say it, else a "pax" extended header before the entry with just the records
needed (pax, "ustar Interchange Format" and "pax Extended Header"). Owner 0:0 without names, one time for all, sums
in one form. Python's `tarfile` makes the same choices for the caller in ways that changed between versions.
"""

from __future__ import annotations

from reprise_trainer.identity.file_list import FileType
from reprise_trainer.identity.inventory import LAYER_MTIME

BLOCK = 512
END = bytes(2 * BLOCK)
"""An archive ends with two zero blocks; no further record padding."""

_TYPE_FLAGS: dict[FileType, bytes] = {"file": b"0", "directory": b"5", "symlink": b"2"}
_PAX_FLAG = b"x"
_PAX_NAME = b"PaxHeader"
_NAME, _PREFIX = 100, 155
_MAX_SIZE = 8**11 - 1
_ZERO = b"0000000\0"
_MTIME = b"%011o\0" % LAYER_MTIME
_MAGIC = b"ustar\00000" + bytes(64) + 2 * _ZERO
"""Magic, version, empty user and group names, device numbers 0."""


def header(path: str, kind: FileType, mode: int, size: int = 0, target: str = "") -> bytes:
    """The header blocks of one entry.

    Args:
        path: relative to the root, without a slash at its end.
        kind: what it is.
        mode: permission bits.
        size: bytes of a file.
        target: text of a symlink.

    Returns:
        One block, or three and more with a pax header; a multiple of 512 bytes.
    """
    name = path.encode() + (b"/" if kind == "directory" else b"")
    link = target.encode()
    records: dict[bytes, bytes] = {}
    split = _split(name) if path.isascii() else None
    if split is None:
        records[b"path"] = name
        split = (b"", _ascii(name))
    if len(link) > _NAME or not target.isascii():
        records[b"linkpath"] = link
        link = _ascii(link)
    if size > _MAX_SIZE:
        records[b"size"] = b"%d" % size
        size = 0
    block = _block(split, _TYPE_FLAGS[kind], mode, size, link)
    return _pax(records) + block if records else block


def padding(size: int) -> bytes:
    """The zeros that follow `size` bytes of content."""
    return bytes(-size % BLOCK)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """`(prefix, name)` for ustar's two fields: the shortest prefix that will do; None if no split does."""
    if len(name) <= _NAME:
        return b"", name
    cut = name.find(b"/", len(name) - _NAME - 1)
    if cut <= 0 or cut > _PREFIX or cut == len(name) - 1:
        return None
    return name[:cut], name[cut + 1 :]


def _ascii(name: bytes) -> bytes:
    """What a reader without pax sees of a name: its start, other characters as `?`."""
    return bytes(byte if byte < 128 else 63 for byte in name[:_NAME])


def _pax(records: dict[bytes, bytes]) -> bytes:
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    return _block((b"", _PAX_NAME), _PAX_FLAG, 0o644, len(body), b"") + body + padding(len(body))


def _record(key: bytes, value: bytes) -> bytes:
    """`<length> <key>=<value>\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _block(split: tuple[bytes, bytes], flag: bytes, mode: int, size: int, link: bytes) -> bytes:
    prefix, name = split
    before = b"%s%07o\0%s%s%011o\0%s" % (name.ljust(_NAME, b"\0"), mode, _ZERO, _ZERO, size, _MTIME)
    after = b"%s%s%s%s" % (flag, link.ljust(_NAME, b"\0"), _MAGIC, prefix.ljust(_PREFIX, b"\0") + bytes(12))
    checksum = sum(before) + sum(after) + 8 * 32  # the checksum's own field counts as eight spaces
    return b"%s%06o\0 %s" % (before, checksum, after)
