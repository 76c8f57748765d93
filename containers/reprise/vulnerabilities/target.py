"""What a scan is of: the lock of a project's environment, or the one that an image in the store was built from."""

from __future__ import annotations

from pathlib import Path

from reprise.environments import load_lock
from reprise.lock.model import Lock
from reprise.project import Project
from reprise.store import Store
from reprise.stored_image import read_image_lock, read_inventory
from reprise_trainer.canonical import DIGEST_PATTERN


def find_lock(target: str, project: Path, store: Path | None) -> Lock:
    """The lock that `target` means.

    Args:
        target: an environment's name, or the digest of an image.
        project: a folder in the project, for names.
        store: the store's folder, for digests; None for the default one.

    Raises:
        NotFoundError: the environment is unknown or not locked; the image or its lock is not in the store.
        DoesNotHoldError: the lock beside the image is not the one that it names.
        InputError: the lock or the image is malformed.
    """
    if DIGEST_PATTERN.match(target) is None:
        return load_lock(Project.find(project), target)
    opened = Store.open(store, create=False)
    return read_image_lock(opened, target, read_inventory(opened, target))[0]
