"""What a layer or a root holds, path by path, with all that a tar header says of it."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reprise.engine.interface import Layer
from reprise.engine.layer_stream import CHUNK, LayerStream, open_layer
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.identity.mounts import read_mounts

MAX_BYTES = 64 << 20
"""Files above are compared by their hashes alone."""


@dataclass(frozen=True, slots=True)
class Node:
    """One path. `mtime` is in seconds; `owner` is (uid, gid, user name, group name); `other` is what else a tar's
    header says (pax records, hard link)."""

    type: str
    mode: int
    size: int = 0
    sha256: str = ""
    target: str = ""
    mtime: float = 0
    owner: tuple[int, int, str, str] = (0, 0, "", "")
    other: str = ""


Tree = dict[str, Node]
"""Path (relative, no slash at its end) → what is there, in the order in which it came."""


def read_layer(store: Store, layer: Layer) -> Tree:
    """Everything in a layer, in the tar's order.

    Raises:
        NotFoundError: the store lacks the layer.
        InputError: the layer is damaged, or no tar.
    """
    tree: Tree = {}
    with _archive(store, layer) as (stream, archive):
        for member in archive:
            path = _path(member)
            sha256 = ""
            if member.isreg():
                content = archive.extractfile(member)
                sha256 = hashlib.file_digest(content, "sha256").hexdigest() if content else ""  # type: ignore[arg-type]
            elif member.islnk():
                linked = tree.get(member.linkname.removeprefix("./"))
                sha256 = linked.sha256 if linked else ""
            if path:
                tree.pop(path, None)
                tree[path] = _node(member, sha256)
        stream.finish()
    return tree


def read_files(store: Store, layer: Layer, wanted: Collection[str]) -> dict[str, bytes]:
    """The bytes of those `wanted` files of a layer that are not above `MAX_BYTES`."""
    found: dict[str, bytes] = {}
    left = set(wanted)
    with _archive(store, layer) as (_, archive):
        for member in archive:
            if (path := _path(member)) in left and member.isreg() and member.size <= MAX_BYTES:
                content = archive.extractfile(member)
                found[path] = content.read() if content else b""
                left.discard(path)
            if not left:
                break
    return found


def read_root(root: Path) -> tuple[Tree, frozenset[str]]:
    """Everything beneath a running root or an unpacked image, and the points below it where something is mounted, which
    is not looked into.

    Raises:
        NotFoundError: there is no such folder, or it can't be read.
    """
    if not root.is_dir():
        raise NotFoundError(f"there is no folder {root}")
    tree: Tree = {}
    mounted = _mount_points(root)
    try:
        for path in _walk(root, "", mounted):
            tree[path] = _node_of(root / path)
    except OSError as error:
        raise NotFoundError(
            f"cannot read {error.filename or root}: {error.strerror}", hint="Another user's root needs root's rights."
        ) from error
    return tree, mounted


@contextmanager
def _archive(store: Store, layer: Layer) -> Iterator[tuple[LayerStream, tarfile.TarFile]]:
    try:
        with (
            open_layer(store, layer) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive,  # type: ignore[call-overload]
        ):
            yield stream, archive
    except tarfile.TarError as error:
        raise InputError(f"layer {layer.digest} is not a tar archive: {error}") from error


def _path(member: tarfile.TarInfo) -> str:
    path = member.name.removeprefix("./").strip("/")
    return "" if path == "." else path


def _node(member: tarfile.TarInfo, sha256: str) -> Node:
    kind = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "file"}.get(member.type)
    kind = kind or ("file" if member.isreg() else f"tar type {member.type.decode('ascii', 'replace')}")
    known = ("path", "linkpath", "size", "mtime", "uid", "gid", "uname", "gname")
    records = [f"{key}={value}" for key, value in sorted(member.pax_headers.items()) if key not in known]
    return Node(
        kind,
        member.mode & 0o7777,
        member.size if kind == "file" else 0,
        sha256,
        member.linkname if member.issym() else "",
        member.mtime,
        (member.uid, member.gid, member.uname, member.gname),
        " ".join([*records, f"hard link to {member.linkname}" if member.islnk() else ""]).strip(),
    )


def _mount_points(root: Path) -> frozenset[str]:
    """Mount points below `root`, relative to it. A process's root (/proc/PID/root) has mounts of its own."""
    parts = root.absolute().parts
    if parts[1:2] == ("proc",) and parts[3:] == ("root",):
        return frozenset(mount.point for mount in read_mounts(root.parent / "mountinfo") if mount.point)
    above = str(root.resolve()).strip("/")
    points = (mount.point for mount in read_mounts())
    return frozenset(point.removeprefix(f"{above}/") for point in points if point.startswith(f"{above}/"))


def _walk(root: Path, folder: str, skipped: Collection[str]) -> Iterator[str]:
    with os.scandir(root / folder) as entries:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in names:
        path = f"{folder}/{name}" if folder else name
        yield path
        if is_folder and path not in skipped:
            yield from _walk(root, path, skipped)


def _node_of(path: Path) -> Node:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    owner = (status.st_uid, status.st_gid, "", "")
    if stat.S_ISLNK(status.st_mode):
        return Node("symlink", 0o777, target=str(path.readlink()), mtime=status.st_mtime, owner=owner)
    if stat.S_ISDIR(status.st_mode):
        return Node("directory", mode, mtime=status.st_mtime, owner=owner)
    if not stat.S_ISREG(status.st_mode):
        return Node("device, pipe or socket", mode, mtime=status.st_mtime, owner=owner)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Node("file", mode, status.st_size, sha256, mtime=status.st_mtime, owner=owner)
