"""Bring a lock's artifacts into the store. Nothing slow is imported before something is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from reprise.artifacts.report import FetchReport
from reprise.events import OnEvent, ignore
from reprise.lock.model import Artifact, Sources
from reprise.store import Store

if TYPE_CHECKING:
    from reprise.artifacts.sources import Source

Places = Callable[[], "Sequence[Source]"]
"""Gives the places to ask, once something is missing."""

WORKERS = 4


def fetch(
    artifacts: Iterable[Artifact],
    store: Store,
    sources: Sources,
    *,
    places: Places | None = None,
    on_event: OnEvent = ignore,
    workers: int | None = None,
) -> FetchReport:
    """Make the store hold every artifact: what it lacks comes from the first place that has the right bytes.

    Places are asked in this order: this machine's pip (find-links, indexes), its apt, then `sources`. An artifact
    that can't be had does not keep the others from coming in.

    Args:
        artifacts: duplicates are fetched once.
        store: holds what is complete; unfinished downloads stay in its folder of partial files and go on next time.
        sources: the environment's own sources.
        places: when given, these are asked and nobody else: neither pip, nor apt, nor `sources`.
        on_event: called by one thread at a time with {"event": "fetch", "purl", "bytes", "total"}, sizes in bytes so
            far and in all (0 while unknown); the last of an artifact has both equal.
        workers: downloads at a time; WORKERS when it is None.

    Raises:
        UnavailableError: nobody has an artifact; the message says who was asked.
        InputError: an artifact's bytes have another hash wherever they are.
        StorageError: the store can't be written.
    """
    wanted = {each.digest: each for each in artifacts}
    missing = [each for digest, each in wanted.items() if not store.has(digest)]
    present = tuple(each.purl for each in wanted.values() if each not in missing)
    if not missing:
        return FetchReport(present, ())
    from reprise.artifacts.fetcher import fetch_missing  # it imports HTTP clients, a fifth of a second

    return FetchReport(present, fetch_missing(missing, store, sources, places, on_event, workers or WORKERS))
