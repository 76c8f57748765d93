"""The tar file of a bundle: plain files alone, in one form to write and to read.

Source: POSIX.1-1988 (ustar); sizes above 8 GiB as GNU tar writes them. A reader of this form alone has no long names,
sparse files, links or extended headers to be fooled by, and knows where everything is before it reads any of it.
"""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reprise_trainer.errors import InputError

BLOB_FOLDER = "blobs/sha256"

_BLOCK = tarfile.BLOCKSIZE
_NAMES = re.compile(rf"oci-layout|index\.json|{BLOB_FOLDER}/[0-9a-f]{{64}}")
_FOLDERS = ("blobs", BLOB_FOLDER)
_MEMBERS_LIMIT = 100_000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where a member's bytes are in the file: offset and size, in bytes."""

    offset: int
    size: int


def write_tar(target: BinaryIO, members: Iterable[tuple[str, bytes | Path]]) -> None:
    """Write files (name; bytes, or the path of a file that holds them) as a tar with no time or owner in it."""
    for name, content in members:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o644, 0
        target.write(info.tobuf(tarfile.GNU_FORMAT))
        if isinstance(content, bytes):
            target.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, target, _CHUNK)
        target.write(bytes(-size % _BLOCK))
    target.write(bytes(2 * _BLOCK))


def read_members(source: BinaryIO, what: str) -> dict[str, Stretch]:
    """Where the members of a bundle's tar are; nothing but headers is read.

    Args:
        source: the file, at its beginning.
        what: its name, for messages.

    Raises:
        InputError: it is no tar, breaks off, or holds anything but an OCI layout's plain files, each once.
    """
    length = source.seek(0, 2)
    members: dict[str, Stretch] = {}
    offset = 0
    while True:
        source.seek(offset)
        block = source.read(_BLOCK)
        if block == bytes(_BLOCK):
            return members
        offset += _BLOCK
        member = _header(block, what)
        size = 0 if member.isdir() else member.size
        if not 0 <= size <= length - offset:
            raise InputError(f"{what} breaks off: {member.name!r} has {size} bytes, and {length - offset} are left")
        if not member.isdir():
            if member.name in members:
                raise InputError(f"{what} holds {member.name!r} twice")
            members[member.name] = Stretch(offset, size)
        if len(members) > _MEMBERS_LIMIT:
            raise InputError(f"{what} holds more than {_MEMBERS_LIMIT} files")
        offset += size + -size % _BLOCK


def _header(block: bytes, what: str) -> tarfile.TarInfo:
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise InputError(f"{what} is not a tar file, or breaks off: {error}") from error
    is_folder = member.isdir() and member.name.rstrip("/") in _FOLDERS
    is_file = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and _NAMES.fullmatch(member.name)
    if not (is_folder or is_file):
        raise InputError(
            f"{what} holds {member.name[:200]!r} (type {member.type!r}), which is not a plain file of an OCI layout",
            hint="`reprise bundle` writes what `reprise load` reads; other tools' archives: reprise build --from.",
        )
    return member
