"""Layers as folders: each is unpacked once, into the store's cache, and never changed after."""

from __future__ import annotations

import fcntl
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from reprise.engine.interface import ImageRef, Layer
from reprise.engine.layer_stream import LayerStream, open_layer, size_limit
from reprise.events import OnEvent, ignore
from reprise.store import Store
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError

REPORT_EVERY = 256
"""Files between two reports of progress."""


_HEADER_BYTES = 1 << 20
_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class _BoundedMember(tarfile.TarInfo):
    """A member whose extended headers, which tarfile reads into memory, are of a bounded size."""

    def _proc_member(
        self, tar: tarfile.TarFile
    ) -> tarfile.TarInfo:  # meant to be overridden, as tarfile's comment says
        if self.type in _EXTENSIONS and self.size > _HEADER_BYTES:
            raise InputError(f"a layer has a tar header of {self.size:,} bytes; at most {_HEADER_BYTES:,} are read")
        found: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        return found


def unpacked_folder(store: Store) -> Path:
    """Where unpacked layers are: one folder each, named by the diff_id's hex digits."""
    return store.cache / "unpacked"


def unpack_layers(
    store: Store, layers: Sequence[Layer], *, workers: int | None = None, on_event: OnEvent = ignore
) -> list[str]:
    """Unpack the layers that are not unpacked yet, several at once; their names in `unpacked_folder`.

    Raises:
        InputError: a layer holds what an image's layer must not: a path outside the root, a device, a whiteout; or
            its tar is not the one that the config names.
        StorageError: the disk is full, or cannot be written.
    """
    folder = unpacked_folder(store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    by_name = {layer.diff_id.removeprefix("sha256:"): layer for layer in layers}
    if not all((folder / name).is_dir() for name in by_name):
        with only_unpacker(folder), ThreadPoolExecutor(workers or _processors()) as pool:
            missing = [(name, layer) for name, layer in by_name.items() if not (folder / name).is_dir()]
            missing.sort(key=lambda item: item[1].size, reverse=True)  # the longest first: nobody waits for it then
            list(pool.map(lambda item: _unpack_layer(store, item[1], folder / item[0], on_event), missing))
    return [layer.diff_id.removeprefix("sha256:") for layer in layers]


@contextmanager
def only_unpacker(folder: Path) -> Iterator[None]:
    """One process at a time; it first removes what a killed one left."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for part in folder.glob(".part-*"):
            shutil.rmtree(part, ignore_errors=True)
        yield


def flat_copy(image: ImageRef, names: Sequence[str]) -> Path:
    """The whole image as one folder; its files are links to the layers'.

    Args:
        image: the image.
        names: its unpacked layers, lowest first, as `unpack_layers` gives them.
    """
    folder = unpacked_folder(image.store)
    target = folder / f"image-{image.digest.removeprefix('sha256:')}"
    if target.is_dir():
        return target
    with only_unpacker(folder), _made_aside(target) as aside, ThreadPoolExecutor(_processors()) as pool:
        merged = [pair for name in names for pair in _merge_folders(str(folder / name), str(aside))]
        list(pool.map(_link_files, merged))
        final = {place: source for source, place in merged}  # a folder of several layers is as the highest has it
        for place, source in reversed(final.items()):  # last: a link in a folder changes its time
            status = os.stat(source)  # noqa: PTH116 - tens of thousands of Paths cost as much as the links
            os.chmod(place, status.st_mode & 0o7777)  # noqa: PTH101
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    return target


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _merge_folders(source: str, target: str) -> Iterator[tuple[str, str]]:
    """Make a layer's folders in a merged tree; each of them with its place there, parents first."""
    yield source, target
    with os.scandir(source) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                continue
            place = f"{target}/{entry.name}"
            with suppress(FileExistsError):  # another layer's: there are only folders so far
                os.mkdir(place)  # noqa: PTH102
            yield from _merge_folders(entry.path, place)


def _link_files(pair: tuple[str, str]) -> None:
    """Link a folder's files and links. What is there already is the same: the builder refuses two of one path."""
    source, target = pair
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                continue
            place = f"{target}/{entry.name}"
            try:
                os.link(entry.path, place, follow_symlinks=False)
            except FileExistsError as error:
                if stat.S_ISDIR(os.lstat(place).st_mode):
                    raise InputError(f"{entry.path} is no folder, and another layer has a folder there") from error


def _unpack_layer(store: Store, layer: Layer, target: Path, on_event: OnEvent) -> None:
    def report(position: int) -> None:
        on_event({"event": "unpack", "name": layer.digest, "bytes": position, "total": layer.size})

    with _made_aside(target) as aside, open_layer(store, layer) as stream:
        _extract(stream, aside, layer, report)
        stream.finish()
    report(layer.size)


@contextmanager
def _made_aside(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when the block ends well, and disappears when it doesn't."""
    try:
        aside = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
        try:
            yield aside
            aside.chmod(0o755)
            if not target.is_dir():
                aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise storage_error(error, target) from error


def _extract(stream: LayerStream, root: Path, layer: Layer, report: Callable[[int], None]) -> None:
    """Write a layer's files beneath `root`.

    A path's parent must be a folder that this layer made before, so no path can go through a link.
    """
    folders = {""}
    times: list[tuple[str, int, int]] = []
    try:
        with tarfile.open(fileobj=stream, mode="r:", tarinfo=_BoundedMember) as archive:  # type: ignore[call-overload]
            for number, member in enumerate(archive):
                if number % REPORT_EVERY == 0:
                    report(stream.position)
                path = _checked_path(member, folders, layer)
                if stream.length + member.size > size_limit(layer):
                    raise InputError(f"layer {layer.digest} holds {member.name!r} of {member.size:,} bytes: too many")
                if not path:
                    continue
                _write_member(stream, member, f"{root}/{path}")
                if member.isdir():
                    folders.add(path)
                    times.append((f"{root}/{path}", member.mode, int(member.mtime)))
    except tarfile.TarError as error:
        raise InputError(f"layer {layer.digest} is not a tar archive: {error}") from error
    for folder, mode, mtime in reversed(times):  # last: writing into a folder changes its time
        os.chmod(folder, mode & 0o7777)  # noqa: PTH101 - a Path a file costs more than the call
        os.utime(folder, (mtime, mtime))


def _checked_path(member: tarfile.TarInfo, folders: set[str], layer: Layer) -> str:
    """The member's path relative to the root, empty for the root itself; refuses what no layer of ours holds."""
    path = member.name.removeprefix("./").rstrip("/")
    if path in ("", "."):
        return ""

    def refuse(why: str) -> InputError:
        return InputError(f"layer {layer.digest} holds {member.name!r}: {why}")

    parent, name = posixpath.split(path)
    if path.startswith("/") or posixpath.normpath(path) != path or ".." in path.split("/"):
        raise refuse("not a path beneath the root")
    if not (member.isreg() or member.isdir() or member.issym()):
        raise refuse("neither a file, nor a folder, nor a symlink")
    if member.issparse():
        raise refuse("a sparse file, which could be of any size")
    if name.startswith(".wh."):
        raise refuse("a whiteout, which an image of this kind does not have")
    if parent not in folders:
        raise refuse("its parent is not a folder of this layer")
    if path in folders and not member.isdir():
        raise refuse("it replaces a folder")
    if member.issym() and not member.linkname.startswith("/"):
        target = posixpath.normpath(posixpath.join(parent, member.linkname))
        if target.split("/")[0] == "..":
            raise refuse(f"a link that leaves the root ({member.linkname})")
    return path


def _write_member(stream: LayerStream, member: tarfile.TarInfo, target: str) -> None:
    """Make what a header says, at `target`; the stream is behind the header, and afterwards behind the file's bytes."""
    mtime = int(member.mtime)
    if member.isdir():
        Path(target).mkdir(mode=0o700, exist_ok=True)
    elif member.issym():
        Path(target).symlink_to(member.linkname)
        os.utime(target, (mtime, mtime), follow_symlinks=False)
    else:
        file = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _copy(stream, file, member)
            os.fchmod(file, member.mode & 0o7777)
            os.utime(file, (mtime, mtime))
        finally:
            os.close(file)


def _copy(stream: LayerStream, file: int, member: tarfile.TarInfo) -> None:
    left = member.size
    while left:
        piece = stream.take(left)
        if not piece:
            raise InputError(f"a layer breaks off within {member.name!r}: {left:,} bytes are missing")
        left -= len(piece)
        while piece:
            piece = piece[os.write(file, piece) :]
    stream.skip(-member.size % tarfile.BLOCKSIZE)
