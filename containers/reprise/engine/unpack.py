"""Layers as folders: each is unpacked once, into the store's cache, and never changed after."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from reprise.engine.extract import extract
from reprise.engine.interface import ImageRef, Layer
from reprise.engine.layer_stream import Readable, read_layer
from reprise.engine.unpackers import unpackers
from reprise.events import OnEvent, ignore
from reprise.store import Store
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError

WORTH_PROCESSES = 16 << 20
"""Bytes of blobs from which on processes are started for them: each takes a tenth of a second to start."""


def unpacked_folder(store: Store) -> Path:
    """Where unpacked layers are: one folder each, named by the diff_id's hex digits."""
    return store.cache / "unpacked"


def make_unpacked_folder(store: Store) -> Path:
    """`unpacked_folder`, made where it is missing. Raises StorageError."""
    folder = unpacked_folder(store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error
    return folder


def unpack_layers(
    store: Store, layers: Sequence[Layer], *, workers: int | None = None, on_event: OnEvent = ignore
) -> list[str]:
    """Unpack the layers that are not unpacked yet, several at once; their names in `unpacked_folder`.

    Raises:
        InputError: a layer holds what an image's layer must not: a path outside the root, a device, a whiteout; or
            its tar is not the one that the config names.
        StorageError: the disk is full, or cannot be written.
    """
    folder = make_unpacked_folder(store)
    by_name = {folder_name(layer): layer for layer in layers}
    if not all((folder / name).is_dir() for name in by_name):
        with only_unpacker(folder) as lock:
            missing = [layer for name, layer in by_name.items() if not (folder / name).is_dir()]
            missing.sort(key=lambda layer: layer.size, reverse=True)  # the longest first: nobody waits for it then
            _unpack_all(store, missing, folder, workers or processors(), on_event, lock)
    return [folder_name(layer) for layer in layers]


def _unpack_all(store: Store, layers: list[Layer], folder: Path, workers: int, on_event: OnEvent, lock: int) -> None:
    paths = [store.path(layer.digest) for layer in layers]
    if sum(layer.size for layer in layers) < WORTH_PROCESSES:
        for layer, path in zip(layers, paths, strict=True):
            with path.open("rb") as file:
                unpack_layer(file, layer, folder, lambda position: None)
            on_event({"event": "unpack", "name": layer.digest, "bytes": layer.size, "total": layer.size})
        return
    with unpackers(folder, min(workers, len(layers)), on_event, lock=lock) as unpack:
        for result in [unpack(layer, [path], None) for layer, path in zip(layers, paths, strict=True)]:
            result.result()


def folder_name(layer: Layer) -> str:
    """What a layer's folder is called in `unpacked_folder`."""
    return layer.diff_id.removeprefix("sha256:")


@contextmanager
def only_unpacker(folder: Path, *, wait: bool = True) -> Iterator[int]:
    """One process at a time, and those that it hands the lock's descriptor to; what a killed one left is removed.

    Raises:
        BlockingIOError: another process has it, and `wait` is false.
    """
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        _remove_parts(folder)
        try:
            yield file.fileno()
        except BaseException:
            _remove_parts(folder)
            raise


def _remove_parts(folder: Path) -> None:
    for part in folder.glob(".part-*"):
        shutil.rmtree(part, ignore_errors=True)


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
    with only_unpacker(folder), _made_aside(target) as aside, ThreadPoolExecutor(processors()) as pool:
        merged = [pair for name in names for pair in _merge_folders(str(folder / name), str(aside))]
        list(pool.map(_link_files, merged))
        final = {place: source for source, place in merged}  # a folder of several layers is as the highest has it
        for place, source in reversed(final.items()):  # last: a link in a folder changes its time
            status = os.stat(source)  # noqa: PTH116 - tens of thousands of Paths cost as much as the links
            os.chmod(place, status.st_mode & 0o7777)  # noqa: PTH101
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    return target


def processors() -> int:
    """Processors that this process may use."""
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


def unpack_layer(
    file: Readable,
    layer: Layer,
    folder: Path,
    report: Callable[[int], None],
    confirm: Callable[[], None] = lambda: None,
) -> None:
    """Unpack a layer's blob, an open file, to its place in `folder`; errors as for `unpack_layers`.

    Args:
        report: told, now and then, how many bytes of the blob were read.
        confirm: called before the layer appears; where it raises, the layer doesn't.
    """
    with _made_aside(folder / folder_name(layer)) as aside, read_layer(file, layer, ahead=True) as stream:
        extract(stream, aside, layer, report)
        stream.finish()
        confirm()


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
