"""Locked artifacts out of an archive: a registry's repository or an OCI layout that holds them as blobs.

An artifact's digest is all that is asked for, so any place that an archive was pushed, copied or unpacked to will do.
Nothing slow is imported, and no place is opened, before an artifact is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from reprise.store import Store

if TYPE_CHECKING:
    from reprise.artifacts.fetch import Places
    from reprise.artifacts.sources import Candidate, Source
    from reprise.lock.model import Artifact
    from reprise.registry.origin import Origin


@contextmanager
def archived_places(where: str | None, store: Store) -> Iterator[Places]:
    """For `fetch`: the archive at `where` (a reference, or a layout's folder or tar file) and no other place.

    Args:
        where: None for no place at all: the store has to have everything.
        store: its folder of partial files is where a tar file is unpacked, for the length of the block.
    """
    with ExitStack() as stack:

        def places() -> Sequence[Source]:
            if where is None:
                return []
            from reprise.registry.origin import open_origin

            return [_source(stack.enter_context(open_origin(where, store.root / "partial")))]

        yield places


def _source(origin: Origin) -> Source:
    from reprise.artifacts.sources import EVERY_KIND, Source

    def find(artifact: Artifact) -> Iterator[Candidate]:
        candidate = origin.candidate(artifact.digest)
        if candidate is not None:
            yield candidate

    return Source(f"the archive in {origin.name}", EVERY_KIND, find)
