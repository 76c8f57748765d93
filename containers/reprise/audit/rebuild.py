"""Rebuild an image from its lock, in an empty store, as a stranger would."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from reprise.artifacts.fetch import Places, fetch
from reprise.audit.compare import compare_images
from reprise.audit.report import Part
from reprise.build import build_image
from reprise.events import OnEvent, ignore
from reprise.lock.model import Artifact, Sources
from reprise.store import Store
from reprise.stored_image import read_file_lists, read_image_lock, read_image_source, read_inventory
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import DoesNotHoldError


def rebuild_image(digest: str, store: Store, empty: Store, *, on_event: OnEvent = ignore) -> Part:
    """Build the image again from the lock and the source kept with it, and compare the digests.

    Args:
        digest: the run's image, `sha256:<hex>`.
        store: holds the image's manifest, inventory, lock and source; artifacts are taken from it where it has them.
        empty: a store with nothing in it; the rebuilt image is in it afterwards. No cache of `store` is used.

    Returns:
        The comparison; where the lock or the source beside the image is another one, that is the difference.

    Raises:
        NotFoundError: the store lacks the image, its lock or its source.
        UnavailableError: an artifact is nowhere to be had.
    """
    expected = read_inventory(store, digest)
    try:
        rebuilt = build_again(digest, store, empty, on_event=on_event)
    except DoesNotHoldError as error:
        return Part(digest, "", False, error.message)
    found = read_inventory(empty, rebuilt)
    return compare_images(expected, found, read_file_lists(store, expected), read_file_lists(empty, found))


def build_again(digest: str, store: Store, empty: Store, *, on_event: OnEvent = ignore) -> str:
    """Build an image again from the lock and the source that are kept with it.

    Args:
        digest, store, empty: as for `rebuild_image`.

    Returns:
        The digest of the rebuilt image, which is in `empty`.

    Raises:
        DoesNotHoldError: the lock or the source beside the image is not the one that the image names.
        NotFoundError, UnavailableError: as for `rebuild_image`.
    """
    expected = read_inventory(store, digest)
    lock, environment, lock_files = read_image_lock(store, digest, expected)
    source = read_image_source(store, digest, expected)
    bring_artifacts(lock.artifacts, store, empty, environment.sources, on_event=on_event)
    return build_image(lock, lock_files, source, empty, on_event=on_event).digest


def bring_artifacts(
    artifacts: Iterable[Artifact],
    store: Store,
    empty: Store,
    sources: Sources,
    *,
    places: Places | None = None,
    on_event: OnEvent = ignore,
) -> None:
    """Make `empty` hold the artifacts: from `store` those whose bytes there have the right hash, else fetched.

    Where `places` are given (an archive, or none for offline), nobody else is asked.
    """
    artifacts = list(artifacts)
    for artifact in artifacts:
        if store.has(artifact.digest) and not empty.has(artifact.digest):
            _take(artifact, store, empty)
    fetch(artifacts, empty, sources, places=places, on_event=on_event)


def _take(artifact: Artifact, store: Store, empty: Store) -> None:
    """Link (or copy) an artifact, unless its bytes are not what its name says."""
    aside = empty.partial(artifact.digest)
    _link(store.path(artifact.digest), aside)
    with aside.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 == artifact.sha256:
        empty.add_file(aside, artifact.digest)
    else:
        aside.unlink()  # damaged there: fetched afresh


def _link(source: Path, target: Path) -> None:
    try:
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            shutil.copyfile(source, target)
    except OSError as error:
        raise storage_error(error, target) from error
