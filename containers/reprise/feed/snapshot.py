"""The snapshot of a run whose shards stay where they are until they are needed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from reprise.events import OnEvent, ignore
from reprise.feed.cache import ShardCache
from reprise.feed.server import serving
from reprise.registry.origin import Origin, open_origin
from reprise.registry.pull import bring_blob
from reprise.store import Store
from reprise_trainer.config.data import MadeData, StoreSection
from reprise_trainer.config.train import TRAIN_SPLIT
from reprise_trainer.data.shard_order import room_needed
from reprise_trainer.data.snapshot import DOCUMENT, Snapshot, decode_snapshot
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError
from reprise_trainer.identity.launch import FEED_SOCKET


@dataclass(frozen=True, slots=True)
class ShardPlace:
    """Where the shards are: a reference in a registry, or an OCI layout (its folder, or a tar file of it); how many
    bytes of them there is room for; and a file of certificate authorities for the registry, if any."""

    where: str
    room: int
    certificates: Path | None = None


@dataclass(frozen=True, slots=True)
class FedSnapshot:
    """A snapshot's digest, and a folder to mount read-only: its document, and the shards that are here just now."""

    digest: str
    folder: Path
    cache: ShardCache
    room: int

    def serving(self, launch: Path) -> AbstractContextManager[None]:
        """Bring shards for the run whose launch folder this is, for the length of the block."""
        return serving(launch / FEED_SOCKET, self.cache, self.room)


@contextmanager
def fed_snapshot(
    data: MadeData | StoreSection, place: ShardPlace, store: Store, *, on_event: OnEvent = ignore
) -> Iterator[FedSnapshot]:
    """The snapshot that a configuration names, for the length of the block; its shards are in a folder of the store's
    cache that nobody else uses, and that is gone afterwards.

    Args:
        data: the configuration's section.
        place: where the shards are.
        store: shards that it has are taken from there.
        on_event: told what happens.

    Raises:
        InputError: the configuration names no snapshot by its digest, or another than the place has; or there is too
            little room.
        NotFoundError, UnavailableError, DoesNotHoldError: the place does not have it, does not answer, or gives other
            bytes.
        StorageError: the cache can't be written.
    """
    if not isinstance(data, StoreSection):
        raise InputError(
            f"shards come from {place.where}, but [data] has kind {data.kind!r}, which is made on this machine",
            hint='Push the snapshot, and name it in [data]: kind = "store", snapshot = "sha256:…".',
        )
    with (
        open_origin(place.where, store.root / "partial", certificates=place.certificates) as origin,
        _own_folder(store.cache / "feeds") as folder,
    ):
        scratch = Store.open(folder / "scratch")
        document = _document(data.snapshot, place, origin, store, scratch)
        snapshot = decode_snapshot(document, where=data.snapshot)
        _require_room(snapshot, data, place)
        seen = folder / "data"
        (seen / "shards").mkdir(parents=True)
        write_durably(seen / DOCUMENT, document)
        on_event({"event": "phase", "name": f"bring shards from {origin.name} as the run needs them"})
        with closing(ShardCache(snapshot, seen, scratch, origin, store)) as cache:
            yield FedSnapshot(data.snapshot, seen, cache, place.room)


def _document(digest: str, place: ShardPlace, origin: Origin, store: Store, scratch: Store) -> bytes:
    """The snapshot's document: the config of the artifact that holds the shards."""
    root = origin.root()
    if not root.blobs or root.blobs[0].digest != digest:
        holds = f"{root.digest} with config {root.blobs[0].digest}" if root.blobs else f"the index {root.digest}"
        raise InputError(
            f"{place.where} is not the snapshot {digest} that [data] names: it is {holds}",
            hint="Name the artifact that `reprise ingest` printed, as it was pushed.",
        )
    if store.has(digest):
        return store.read(digest)
    bring_blob(origin, root.blobs[0], scratch, threading.Event())
    return scratch.read(digest)


def _require_room(snapshot: Snapshot, data: StoreSection, place: ShardPlace) -> None:
    needed = max(room_needed(snapshot, TRAIN_SPLIT, data.order), *(shard.size for shard in snapshot.shards()))
    if place.room >= needed:
        return
    or_else = ""
    if data.order != "shards":
        or_else = ', or set data.order = "shards", which reads a few at a time (another run, with other bits)'
    raise InputError(
        f"a shard cache of {place.room} bytes is too small for this run: shards would come again and again. "
        f'With data.order = "{data.order}" it needs {needed} bytes',
        hint=f"Give it more (--shard-cache {needed}B){or_else}.",
    )


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, held by a lock; those whose holders were killed are removed on the way."""
    with ExitStack() as stack:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            with _locked(parent):
                for left in parent.iterdir():
                    with suppress(OSError), _locked(left, wait=False):
                        shutil.rmtree(left, ignore_errors=True)
                folder = Path(tempfile.mkdtemp(prefix="feed-", dir=parent))
                stack.enter_context(_locked(folder))
        except OSError as error:
            raise storage_error(error, parent) from error
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
