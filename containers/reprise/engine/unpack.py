"""Layers as folders: each is unpacked once, into the store's cache, and never changed after."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from reprise.engine.extract import extract
from reprise.engine.interface import Layer
from reprise.engine.layer_stream import Readable, read_layer
from reprise.engine.remove import remove_tree
from reprise.engine.unpackers import unpackers
from reprise.events import OnEvent, ignore
from reprise.store import Store
from reprise_trainer.durable import storage_error

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
        StorageError: the folder can't be written.
    """
    try:
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise storage_error(error, folder / ".lock") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        _remove_parts(folder)
        try:
            yield file.fileno()
        except BaseException:
            _remove_parts(folder)
            raise


def _remove_parts(folder: Path) -> None:
    for part in folder.glob(".part-*"):
        with suppress(OSError):  # it takes room, and nothing else
            remove_tree(part)


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


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
    with made_aside(folder / folder_name(layer)) as aside, read_layer(file, layer, ahead=True) as stream:
        extract(stream, aside, layer, report)
        stream.finish()
        confirm()


@contextmanager
def made_aside(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when the block ends well, and disappears when it doesn't."""
    try:
        aside = Path(tempfile.mkdtemp(prefix=".part-", dir=target.parent))
        try:
            yield aside
            aside.chmod(0o755)
            if not target.is_dir():
                aside.rename(target)
        finally:
            with suppress(OSError):  # it has become `target`; else it is removed by the next unpacking
                remove_tree(aside)
    except OSError as error:
        raise storage_error(error, target) from error
