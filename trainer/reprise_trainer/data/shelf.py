"""Shards that come while a run goes on: each is checked when it is brought, and given back when room is needed.

Which shards are here, and when they came, changes no bit: whoever asks for one waits until it is here. Standard library
alone.
"""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.data.feed import Feed
from reprise_trainer.data.snapshot import OpenSnapshot, Shard, read_document, shard_problem
from reprise_trainer.errors import NotFoundError, RefusedError

AT_ONCE = 4
"""Shards that are brought and checked side by side."""


@dataclass(frozen=True, slots=True)
class _Held:
    size: int
    mapped: Future[mmap.mmap]


class Shelf:
    """The shards of a snapshot that are here now, at most as many bytes as there is room for; threads may share it.

    What was not asked for longest goes first. A file that is removed stays readable for whoever reads it just now
    (unlink(2)).

    Args:
        folder: where the launcher puts the files.
        feed: the connection to it.
    """

    def __init__(self, folder: Path, feed: Feed) -> None:
        self._folder, self._feed = folder, feed
        self._lock = threading.Lock()
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="shards")

    def get(self, shard: Shard) -> mmap.mmap:
        """The bytes of a shard, checked against its sha256; waits until they are here.

        Raises:
            UnavailableError: the launcher is gone, or can't bring it.
            RefusedError: other bytes came.
        """
        with self._lock:
            held = self._ask(shard)
        return held.mapped.result()

    def bring(self, shards: Iterable[Shard]) -> None:
        """Have shards brought that are needed now or soon, in this order, without waiting. What goes wrong is said by
        `get`, which asks once more."""
        with self._lock:
            for shard in shards:
                self._ask(shard)

    def _ask(self, shard: Shard) -> _Held:
        found = self._held.get(shard.path)
        if found is None or (found.mapped.done() and found.mapped.exception() is not None):
            self._held.pop(shard.path, None)
            self._make_room(shard.size)
            found = self._held[shard.path] = _Held(shard.size, self._pool.submit(self._fetch, shard))
        self._held.move_to_end(shard.path)
        return found

    def _make_room(self, size: int) -> None:
        total = size + sum(held.size for held in self._held.values())
        for path, held in list(self._held.items()):
            if total <= self._feed.room:
                return
            if held.mapped.done():
                del self._held[path]
                self._feed.done(path)
                total -= held.size

    def _fetch(self, shard: Shard) -> mmap.mmap:
        self._feed.bring(shard.path)
        problem = shard_problem(self._folder, shard)
        if problem:
            raise RefusedError(problem)
        path = self._folder / shard.path
        try:
            with path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise NotFoundError(f"{path}: cannot map the shard: {error.strerror}") from error


def open_fed_snapshot(folder: Path, socket: Path, *, expected: str) -> OpenSnapshot:
    """Read the document of a snapshot whose shards come when they are asked for.

    Args:
        folder: holds `snapshot.json`; the launcher puts shards below it.
        socket: where the launcher listens.
        expected: the digest that the snapshot must have.

    Raises:
        UnavailableError: nobody listens.
        NotFoundError, InputError, RefusedError: as for `open_snapshot`, of the document.
    """
    snapshot, digest = read_document(folder, expected)
    shelf = Shelf(folder, Feed(socket))
    return OpenSnapshot(folder, snapshot, digest, sum(shard.size for shard in snapshot.shards()), shelf)
