"""An image in the store, opened: its inventory, labels, file lists, and the lock and source that it was built from."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from reprise.build import LOCK_LABEL, LOCK_TYPE, SOURCE_FILE, SOURCE_LABEL, SOURCE_TYPE
from reprise.environments import ENVIRONMENT_FILE, LOCK_FILES
from reprise.lock.environment import read_environment
from reprise.lock.model import Environment, Lock
from reprise.lock.read import read_lock
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, RepriseError
from reprise_trainer.identity.file_list import ListedFile, decode_list
from reprise_trainer.identity.inventory import INVENTORY_PATH, Inventory, decode_inventory, image_bytes

FileLists = Mapping[str, list[ListedFile]]
"""Layer name → its files; may lack layers."""


def read_inventory(store: Store, digest: str) -> Inventory:
    """The inventory of an image in the store; the image's digest is proven to follow from it.

    Raises:
        NotFoundError: the store lacks the manifest or the inventory's layer.
        InputError: the image was not made by `reprise`, or is damaged.
    """
    manifest = store.manifest(digest)
    try:
        layer = store.read(manifest["layers"][-1]["digest"])
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            file = tar.extractfile(INVENTORY_PATH)
            data = file.read() if file else b""
    except (KeyError, IndexError, TypeError, tarfile.TarError) as error:
        raise InputError(f"image {digest} has no inventory, so that reprise did not build it: {error}") from error
    inventory = decode_inventory(data)
    if image_bytes(inventory).digest != digest:
        raise InputError(f"image {digest} does not follow from its inventory, so that it cannot be rebuilt")
    return inventory


def read_file_lists(store: Store, inventory: Inventory) -> FileLists:
    """The file lists of those layers whose lists the store holds."""
    lists = {}
    for layer in inventory.layers:
        if store.has(layer.list_digest):
            lists[layer.name] = decode_list(store.read(layer.list_digest))[1]
    return lists


def read_image_lock(store: Store, digest: str, inventory: Inventory) -> tuple[Lock, Environment, dict[str, bytes]]:
    """The lock that an image was built from, its environment, and the lock's files by name.

    The image names its lock by digest (a label), so a lock beside it that was changed is not taken for it.

    Raises:
        NotFoundError: no lock is kept with the image.
        DoesNotHoldError: there are only locks with other digests.
    """
    named = _label(inventory, LOCK_LABEL, digest)
    found: list[str] = []
    for referrer in store.referrers(digest, LOCK_TYPE):
        try:
            files = store.files(referrer["digest"])
            lock, environment = _parse_lock(files)
        except RepriseError as error:
            found.append(f"one that cannot be read ({error.message})")
            continue
        if lock.digest == named:
            return lock, environment, files
        found.append(lock.digest)
    if not found:
        raise NotFoundError(f"the lock of image {digest} is not in the store {store.root}")
    raise DoesNotHoldError(f"the image names lock {named}; beside it in the store is {' and '.join(found)}")


def has_lock(store: Store, digest: str, lock: str) -> bool:
    """Whether the lock of that digest is kept beside the image."""
    for referrer in store.referrers(digest, LOCK_TYPE):
        with suppress(RepriseError):
            if _parse_lock(store.files(referrer["digest"]))[0].digest == lock:
                return True
    return False


def read_image_source(store: Store, digest: str, inventory: Inventory) -> bytes:
    """The archive of the trainer's source that an image was built from.

    Raises:
        NotFoundError: none is kept with the image.
        DoesNotHoldError: there are only archives with other digests.
    """
    named = _label(inventory, SOURCE_LABEL, digest)
    found: list[str] = []
    for referrer in store.referrers(digest, SOURCE_TYPE):
        try:
            source = store.files(referrer["digest"]).get(SOURCE_FILE, b"")
        except RepriseError as error:
            found.append(f"one that cannot be read ({error.message})")
            continue
        if sha256_digest(source) == named:
            return source
        found.append(sha256_digest(source))
    if not found:
        raise NotFoundError(f"the trainer's source of image {digest} is not in the store {store.root}")
    raise DoesNotHoldError(f"the image names source {named}; beside it in the store is {' and '.join(found)}")


def _label(inventory: Inventory, name: str, digest: str) -> str:
    label = inventory.config.get("config", {}).get("Labels", {}).get(name)
    if not isinstance(label, str):
        raise InputError(f"image {digest} has no label {name}, so that it cannot be rebuilt")
    return label


def _parse_lock(files: dict[str, bytes]) -> tuple[Lock, Environment]:
    """A lock is read from a folder, as a person has it."""
    with tempfile.TemporaryDirectory(prefix="reprise-lock-") as name:
        folder = Path(name)
        for file in (*LOCK_FILES, ENVIRONMENT_FILE):
            if file not in files:
                raise InputError(f"the lock has no {file}")
            (folder / file).write_bytes(files[file])
        return read_lock(folder, folder / ENVIRONMENT_FILE), read_environment(folder / ENVIRONMENT_FILE)
