"""An OCI layout that another builder left, such as `nix build`: its images → the store, signed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from reprise.store import Store
from reprise.store.index_entries import TAG
from reprise.store.layout import MANIFEST_LIMIT
from reprise.trust.sign import sign_image
from reprise.trust.verify import verify_image
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import SigningKey
from reprise_trainer.identity.policy import Policy
from reprise_trainer.identity.strict_json import parse_json


def take_layout(layout: Path, store: Store) -> dict[str, str]:
    """Copy all that a layout holds into the store; what is there already is not copied again.

    Nothing but digests is believed: whether an image may be used is for a policy to say.

    Returns:
        The digests of the layout's tagged images, by tag; the tags are the store's from now on.

    Raises:
        InputError: the folder is no layout, or a blob has another digest than its name says.
        StorageError: the store cannot be written; no image is half there.
    """
    manifests = _index(layout)
    blobs = layout / "blobs" / "sha256"
    for blob in sorted(blobs.iterdir()) if blobs.is_dir() else []:
        if not store.has(f"sha256:{blob.name}"):
            _copy(blob, store)
    tagged = {}
    for entry in manifests:
        notes = dict(entry.get("annotations", {}))
        tag = notes.pop(TAG, None)
        kind = entry.get("artifactType")
        data = store.read(entry["digest"])
        store.put_manifest(data, entry["mediaType"], tag=tag, artifact_type=kind, annotations=notes)
        if tag is not None:
            tagged[tag] = str(entry["digest"])
    return tagged


def take_signed(layout: Path, store: Store, key: SigningKey, policy: Policy) -> None:
    """As `take_layout`; images that the policy does not accept yet are signed with a key.

    Raises:
        DoesNotHoldError: the policy does not accept the key either.
    """
    for name, digest in take_layout(layout, store).items():
        if not verify_image(store, digest, policy).holds:
            sign_image(store, digest, name, key)
            verify_image(store, digest, policy).require()


def _index(layout: Path) -> list[dict[str, Any]]:
    try:
        with (layout / "index.json").open("rb") as file:
            data = file.read(MANIFEST_LIMIT + 1)
    except OSError as error:
        raise InputError(f"{layout} is not an OCI layout: index.json cannot be read ({error.strerror})") from error
    index = parse_json(data, f"index.json of {layout}", size_limit=MANIFEST_LIMIT)
    entries = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(entries, list) or not all(map(_is_entry, entries)):
        raise InputError(f"{layout} is not an OCI layout: index.json has no list of manifests")
    return entries


def _is_entry(entry: object) -> bool:
    """Whether it has what a descriptor must have, each of its type."""
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("mediaType"), str)
        and bool(DIGEST_PATTERN.match(str(entry.get("digest"))))
        and isinstance(entry.get("artifactType", ""), str)
        and isinstance(notes := entry.get("annotations", {}), dict)
        and all(isinstance(value, str) for value in notes.values())
    )


def _copy(blob: Path, store: Store) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix="layout-", dir=store.root / "partial") as folder:
            copy = Path(folder, blob.name)
            shutil.copyfile(blob, copy)
            with copy.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != blob.name:
                raise InputError(f"{blob} is damaged: its bytes have digest sha256:{found}")
            store.add_file(copy, f"sha256:{found}")
    except OSError as error:
        raise storage_error(error, store.root) from error
