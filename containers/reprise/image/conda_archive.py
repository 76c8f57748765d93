"""The two archive formats of conda packages as members that can be read in any order.

`.conda`: a zip of metadata.json, `info-*.tar.zst` and `pkg-*.tar.zst` (format version 2). `.tar.bz2`: one tar. Both are
compressed as a whole, so the unpacked tar is kept for as long as its members are needed: a small one in memory, a large
one in a file without a name, which forked processes share and which is gone with the last of them.
"""

from __future__ import annotations

import bz2
import io
import json
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import zstandard

from reprise.image.entries import Content, checked_path
from reprise.image.format import FILE_MODE, PROGRAM_MODE
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import FileType

_FORMAT = 2
"""`conda_pkg_format_version` of the `.conda` files that there are."""

_IN_MEMORY = 2 << 20
"""Bytes of an unpacked tar up to which it stays in memory."""

_PIECE = 1 << 20
_WINDOW = 1 << 31
"""The largest window that a zstd frame may ask for: that of `--ultra --long=31`."""


@dataclass(frozen=True, slots=True)
class Member:
    """One path of a package. `size` (bytes) and `content` are of a file, `target` of a symlink."""

    type: FileType
    mode: int = FILE_MODE
    size: int = 0
    target: str = ""
    content: Content | None = None

    def read(self) -> bytes:
        """All bytes of a file."""
        return b"".join(self.content()) if self.content else b""


def read_archive(path: Path, artifact: str, spool: Path | None = None) -> dict[str, Member]:
    """All members of the package at `path`, by path.

    A file's mode is one of two, by its owner's x bit; hard links are files.

    Args:
        path: the package, of either format.
        artifact: its name for messages.
        spool: an existing folder for a large package's unpacked tar; the system's own by default.

    Raises:
        InputError: it is no conda package, is damaged, or holds what an image cannot (devices, paths outside the root).
        OSError: `path` cannot be read, or `spool` not written.
    """
    members: dict[str, Member] = {}
    with _damage_is_named(artifact), _opened(path, artifact) as tars:
        for open_tar in tars.values():
            with open_tar() as stream:
                members |= _members(_kept(stream, spool), artifact)
    return members


def read_index(path: Path, artifact: str) -> bytes:
    """`info/index.json` of the package at `path`, without unpacking more than what comes before it.

    Raises:
        InputError: it is no conda package, or has none.
    """
    with (
        _damage_is_named(artifact),
        _opened(path, artifact) as tars,
        tars["info"]() as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            if member.name.removeprefix("./") == "info/index.json" and (file := archive.extractfile(member)):
                return file.read()
    raise InputError(f"{artifact} is not a conda package: info/index.json is missing")


@contextmanager
def _damage_is_named(artifact: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zstandard.ZstdError, EOFError, NotImplementedError) as error:
        raise InputError(f"{artifact} is damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # bz2 says so when its data is wrong
            raise InputError(f"{artifact} is damaged: {error}") from error
        raise


@contextmanager
def _opened(path: Path, artifact: str) -> Iterator[dict[str, Callable[[], IO[bytes]]]]:
    """What opens each unpacked tar of a package: "info" and "pkg", or "info" alone, which then holds all."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start.startswith(b"BZh"):
            yield {"info": lambda: cast(IO[bytes], bz2.BZ2File(file))}
        elif start.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive:
                yield _parts(archive, artifact)
        else:
            raise InputError(f"{artifact} is not a conda package: it is neither a zip nor a bzip2 file")


def _parts(archive: zipfile.ZipFile, artifact: str) -> dict[str, Callable[[], IO[bytes]]]:
    names = archive.namelist()
    try:
        version = json.loads(archive.read("metadata.json"))["conda_pkg_format_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{artifact} is not a conda package: its metadata.json is missing or malformed") from error
    if version != _FORMAT:
        raise InputError(f"{artifact} is a conda package of format {version!r}; this version reads format {_FORMAT}")
    parts: dict[str, Callable[[], IO[bytes]]] = {}
    for part in ("info", "pkg"):
        found = [name for name in names if name.startswith(f"{part}-") and name.endswith(".tar.zst")]
        if len(found) != 1:
            raise InputError(f"{artifact} is not a conda package: it has {len(found)} files {part}-*.tar.zst, not one")
        parts[part] = lambda name=found[0]: _zstd(archive.open(name))  # type: ignore[misc]
    return parts


def _zstd(stream: IO[bytes]) -> IO[bytes]:
    unpack = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    return cast(IO[bytes], unpack.stream_reader(stream, read_across_frames=True, closefd=True))


def _kept(stream: IO[bytes], spool: Path | None) -> IO[bytes]:
    """Everything in `stream`, as a file that can be read anywhere."""
    start = _read_up_to(stream, _IN_MEMORY + 1)
    if len(start) <= _IN_MEMORY:
        return io.BytesIO(start)
    file = tempfile.TemporaryFile(dir=spool)  # noqa: SIM115 - open for as long as a member refers to it
    file.write(start)
    while piece := stream.read(_PIECE):
        file.write(piece)
    file.flush()
    return cast(IO[bytes], file)


def _read_up_to(stream: IO[bytes], size: int) -> bytes:
    """`size` bytes, or all that there are; one `read` may give fewer."""
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _members(kept: IO[bytes], artifact: str) -> dict[str, Member]:
    """The members of an unpacked tar; of two that have one path the later counts, as when it is unpacked."""
    members: dict[str, Member] = {}
    kept.seek(0)
    with tarfile.open(fileobj=kept, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for info in archive:
            name = info.name.removeprefix("./")
            if name not in ("", "."):
                members[checked_path(name, artifact)] = _member(info, kept, members, artifact)
    return members


def _member(info: tarfile.TarInfo, kept: IO[bytes], members: dict[str, Member], artifact: str) -> Member:
    if info.isdir():
        return Member("directory")
    if info.issym():
        return Member("symlink", target=info.linkname)
    if info.islnk():
        original = members.get(info.linkname.removeprefix("./"))
        if original is None or original.type != "file":
            raise InputError(f"{artifact}: {info.name} is a hard link to {info.linkname!r}, which is no earlier file")
        return original
    if not info.isreg():
        raise InputError(f"{artifact}: {info.name} is a device, a pipe or a sparse file; an image holds none")
    mode = PROGRAM_MODE if info.mode & stat.S_IXUSR else FILE_MODE
    return Member("file", mode, info.size, content=_content(kept, info.offset_data, info.size, artifact, info.name))


def _content(kept: IO[bytes], start: int, size: int, artifact: str, name: str) -> Content:
    """A part of `kept`, which any thread and any forked process can read."""
    if isinstance(kept, io.BytesIO):
        data = bytes(kept.getbuffer()[start : start + size])
        if len(data) != size:
            raise InputError(f"{artifact} is damaged: it ends within {name}")
        return lambda: (data,)

    def pieces() -> Iterator[bytes]:
        for at in range(start, start + size, _PIECE):
            yield os.pread(kept.fileno(), min(_PIECE, start + size - at), at)

    return pieces
