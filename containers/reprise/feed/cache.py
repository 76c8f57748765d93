"""The shards that are here: brought when somebody needs them, removed when nobody does any more."""

from __future__ import annotations

import threading
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from reprise.registry.manifest import Descriptor
from reprise.registry.origin import Origin
from reprise.registry.pull import DOWNLOADS, bring_blob
from reprise.store import Store
from reprise_trainer.data.snapshot import Shard, Snapshot
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError, NotFoundError


class ShardCache:
    """The shards of `snapshot` in `folder`, by their paths; threads may share it.

    Args:
        scratch: where downloads go on after an interruption, on the same file system as `folder`.
        origin: the place that has the shards.
        store: what it has is linked, and never downloaded.
    """

    def __init__(self, snapshot: Snapshot, folder: Path, scratch: Store, origin: Origin, store: Store) -> None:
        self._shards = {shard.path: shard for shard in snapshot.shards()}
        self._folder, self._scratch, self._origin, self._store = folder, scratch, origin, store
        self._lock = threading.RLock()
        self._users: defaultdict[str, set[int]] = defaultdict(set)
        self._brought: dict[str, Future[None]] = {}
        self._cancelled = threading.Event()
        self._pool = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="shards")

    def need(self, name: str, user: int) -> Future[None]:
        """Have a shard brought for `user`; the result is there when its file is.

        Raises:
            InputError: the snapshot has no such shard.
        """
        if name not in self._shards:
            raise InputError(f"the snapshot has no shard {name!r}")
        with self._lock:
            self._users[name].add(user)
            future = self._brought.get(name)
            if future is None:
                future = self._brought[name] = self._pool.submit(self._bring, self._shards[name])
                future.add_done_callback(lambda _: self._settle(name))
            return future

    def done(self, name: str, user: int) -> None:
        """`user` needs a shard no more."""
        with self._lock:
            if name in self._users:
                self._users[name].discard(user)
                self._settle(name)

    def leave(self, user: int) -> None:
        """`user` needs nothing more."""
        with self._lock:
            for name in list(self._users):
                self.done(name, user)

    def close(self) -> None:
        """Give up what is being brought."""
        self._cancelled.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _settle(self, name: str) -> None:
        """Forget a shard that could not be brought, so that it can be asked for again; remove one that nobody uses."""
        with self._lock:
            future = self._brought.get(name)
            if future is None or not future.done():
                return
            failed = future.cancelled() or future.exception() is not None
            if failed or not self._users[name]:
                del self._brought[name]
                (self._folder / name).unlink(missing_ok=True)

    def _bring(self, shard: Shard) -> None:
        digest, target = f"sha256:{shard.sha256}", self._folder / shard.path
        try:
            if self._store.has(digest):
                target.hardlink_to(self._store.path(digest))
                return
            blob = Descriptor("application/octet-stream", digest, shard.size, title=shard.path)
            while not target.exists():  # another shard of the same bytes may take the blob away between the two lines
                bring_blob(self._origin, blob, self._scratch, self._cancelled)
                with suppress(NotFoundError, FileNotFoundError):
                    self._scratch.path(digest).rename(target)
        except OSError as error:
            raise storage_error(error, target) from error
