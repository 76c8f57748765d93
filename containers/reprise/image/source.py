"""A folder of Python sources as an artifact (a canonical archive), and that archive as a layer's files.

The archive is the trainer's or a project's identity: it depends on names, bytes and the owner's x bit alone, not on
times, owners, umask or what an editor or Python left beside them.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from reprise.image.entries import Entry, checked_path, file
from reprise.image.format import FILE_MODE, PROGRAM_MODE, PythonLayout
from reprise.image.tar_writer import END, header, padding
from reprise_trainer.errors import InputError, NotFoundError

_LEFT_OUT_FOLDERS = ("__pycache__",)
_LEFT_OUT_SUFFIXES = (".pyc", ".pyo", "~")


def source_archive(folder: Path) -> bytes:
    """The canonical, uncompressed tar of a source folder; its paths start with the folder's own name.

    Hidden files, bytecode and backup files are left out; empty folders too. Its sha256 is the source's digest.

    Raises:
        NotFoundError: `folder` is no folder.
        InputError: it holds something other than files and folders, or a name that is not UTF-8.
    """
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is not a folder of sources")
    folder = folder.resolve()
    pieces: list[bytes] = []
    for name, path in sorted(_files(folder, folder.name), key=lambda pair: pair[0].encode("utf-8", "surrogateescape")):
        checked_path(name, f"the source folder {folder}")
        mode = PROGRAM_MODE if path.stat().st_mode & stat.S_IXUSR else FILE_MODE
        data = path.read_bytes()
        pieces += (header(name, "file", mode, len(data)), data, padding(len(data)))
    return b"".join([*pieces, END])


def _files(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as found:
        for item in found:
            if item.name.startswith(".") or item.name.endswith(_LEFT_OUT_SUFFIXES) or item.name in _LEFT_OUT_FOLDERS:
                continue
            if item.is_dir(follow_symlinks=False):
                yield from _files(Path(item.path), f"{name}/{item.name}")
            elif item.is_file(follow_symlinks=False):
                yield f"{name}/{item.name}", Path(item.path)
            else:
                raise InputError(
                    f"{item.path} is neither a file nor a folder; sources hold nothing else",
                    hint="Replace a symbolic link by a copy of what it leads to.",
                )


def read_source(path: Path, artifact: str, layout: PythonLayout) -> list[Entry]:
    """The files of a source archive, where the image's Python finds them.

    Raises:
        InputError: not an archive of plain files.
    """
    try:
        with tarfile.open(path, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
            return [_entry(archive, member, artifact, layout) for member in archive]
    except tarfile.TarError as error:
        raise InputError(f"{artifact} is not a source archive: {error}") from error


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, artifact: str, layout: PythonLayout) -> Entry:
    name = checked_path(member.name, artifact)
    stream = archive.extractfile(member) if member.isreg() else None
    if stream is None:
        raise InputError(f"{artifact} is not a source archive: {name!r} is no file")
    mode = PROGRAM_MODE if member.mode & stat.S_IXUSR else FILE_MODE
    return file(f"{layout.packages}/{name}", stream.read(), mode)
