"""A layer's tar → files in a folder, and nothing outside of it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from pathlib import Path

from reprise.engine.interface import Layer
from reprise.engine.layer_stream import LayerStream, size_limit
from reprise.engine.tar_members import BLOCK, Member, read_members
from reprise_trainer.errors import InputError

DEPTH_LIMIT = 256
"""Folders in one another. The deepest path of our images has some twenty; what reads them may call itself for each."""

REPORT_EVERY = 256
"""Files between two reports of progress."""

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = 0o7000
"""Set-user-ID and the like, which the kernel takes from a file when it is written."""


def extract(stream: LayerStream, root: Path, layer: Layer, report: Callable[[int], None]) -> None:
    """Write a layer's files beneath the empty folder `root`. The digest of what was read is for the caller to compare.

    A path's parent must be a folder that this layer made before, so no path can go through a link.

    Args:
        report: told, now and then, how many bytes of the blob were read.

    Raises:
        InputError: the layer holds what no layer of ours does, or is damaged.
        OSError: the disk is full, or cannot be written.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _extract(stream, folder, layer, report)
    except FileExistsError as error:
        raise InputError(f"layer {layer.digest} holds {error.filename2 or error.filename!r} twice") from error
    finally:
        os.close(folder)


def _extract(stream: LayerStream, root: int, layer: Layer, report: Callable[[int], None]) -> None:
    limit, folders = size_limit(layer), {""}
    made: list[tuple[str, Member]] = []
    exact: dict[int, bool] = {}
    for number, member in enumerate(read_members(stream)):
        if number % REPORT_EVERY == 0:
            report(stream.position)
        path = _checked_path(member, folders, layer)
        if stream.length + member.size > limit:
            raise InputError(f"layer {layer.digest} holds {member.path!r} of {member.size:,} bytes: too many")
        if not path:
            continue
        if member.kind == "file":
            _write_file(stream, member, path, root, exact)
        elif member.kind == "link":
            os.symlink(member.target, path, dir_fd=root)
            os.utime(path, (member.mtime, member.mtime), dir_fd=root, follow_symlinks=False)
        else:
            if path not in folders:
                os.mkdir(path, 0o700, dir_fd=root)
            folders.add(path)
            made.append((path, member))
    for path, member in reversed(made):  # last: writing into a folder changes its time
        os.chmod(path, member.mode & 0o7777, dir_fd=root)
        os.utime(path, (member.mtime, member.mtime), dir_fd=root)


def _checked_path(member: Member, folders: set[str], layer: Layer) -> str:
    """The member's path relative to the root, empty for the root itself; refuses what no layer of ours holds."""
    path = member.path.removeprefix("./")
    if member.kind == "folder":
        path = path.rstrip("/")
        if path in ("", "."):
            return ""

    def refuse(why: str) -> InputError:
        return InputError(f"layer {layer.digest} holds {member.path[:200]!r}: {why}")

    parent, _, name = path.rpartition("/")
    if path.startswith(("/", "../")) or posixpath.normpath(path) != path or "\0" in path or name in ("", ".", ".."):
        raise refuse("not a path beneath the root")
    if path.count("/") >= DEPTH_LIMIT:
        raise refuse(f"deeper than {DEPTH_LIMIT} folders")
    if member.kind == "sparse":
        raise refuse("a sparse file, which could be of any size")
    if member.kind == "other" or (member.size and member.kind != "file"):
        raise refuse("neither a file, nor a folder, nor a symlink")
    if name.startswith(".wh."):
        raise refuse("a whiteout, which an image of this kind does not have")
    if parent not in folders:
        raise refuse("its parent is not a folder of this layer")
    if path in folders and member.kind != "folder":
        raise refuse("it replaces a folder")
    if member.kind == "link" and (not member.target or "\0" in member.target):
        raise refuse(f"a link to what is no path ({member.target!r})")
    if member.kind == "link" and not member.target.startswith("/"):
        target = posixpath.normpath(posixpath.join(parent, member.target))
        if target.split("/")[0] == "..":
            raise refuse(f"a link that leaves the root ({member.target})")
    return path


def _write_file(stream: LayerStream, member: Member, path: str, root: int, exact: dict[int, bool]) -> None:
    """Make a file of a member's bytes; the stream is behind them afterwards.

    Args:
        exact: whether a file that is made with a mode has just that one (the process's umask may take bits away).
    """
    mode = member.mode & 0o7777
    file = os.open(path, _NEW_FILE, mode & ~_SPECIAL, dir_fd=root)
    try:
        left = member.size
        while left:
            piece = stream.take(left)
            if not piece:
                raise InputError(f"a layer breaks off within {member.path!r}: {left:,} bytes are missing")
            left -= len(piece)
            while piece:
                piece = piece[os.write(file, piece) :]
        if mode not in exact:
            exact[mode] = os.fstat(file).st_mode & 0o7777 == mode
        if not exact[mode]:
            os.fchmod(file, mode)
        os.utime(file, (member.mtime, member.mtime))
    finally:
        os.close(file)
    stream.skip(-member.size % BLOCK)
