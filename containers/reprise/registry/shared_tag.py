"""A tag that several writers change by reading and writing it, which no registry makes atomic.

Two writers at once can lose what one of them wrote. So the tag is looked at once more right before it is written, and
read back after a pause in which another writer would have ended.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from reprise.registry.manifest import ReadManifest
from reprise.registry.repository import Repository
from reprise_trainer.errors import NotFoundError, UnavailableError

SETTLE_SECONDS = 0.25
"""Pause before the last look at what was written: longer than another writer takes from read to write."""

_ATTEMPTS = 12

Change = Callable[[ReadManifest | None], tuple[bytes, str] | None]
"""Given what the tag leads to (None: nothing), what it should lead to: bytes and media type. None: it is right."""


def change_shared_tag(repository: Repository, tag: str, change: Change) -> None:
    """Change what a tag leads to until `change` finds it right.

    Raises:
        UnavailableError: other writers undo it again and again.
    """
    for attempt in range(_ATTEMPTS):
        try:
            found = repository.manifest(tag)
        except NotFoundError:
            found = None
        wanted = change(found)
        if wanted is None:
            return
        if repository.has_manifest(tag) == (found.digest if found else ""):
            repository.put_manifest(*wanted, tag)
            time.sleep(SETTLE_SECONDS)
        else:
            time.sleep(random.uniform(0.02, 0.1) * (attempt + 1))  # somebody else was writing: not in step with them
    raise UnavailableError(
        f"{tag} of {repository.registry.host}/{repository.name} is overwritten by others",
        hint="Run the command again when no other push is under way.",
    )
