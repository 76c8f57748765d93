"""An OCI layout that another builder left, such as `nix build`: its images → the store, signed."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from reprise.store import Store
from reprise.store.index_entries import TAG
from reprise.trust.sign import sign_image
from reprise.trust.verify import verify_image
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError
from reprise_trainer.identity.policy import Policy


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
    for blob in sorted((layout / "blobs" / "sha256").iterdir()):
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


def take_signed(layout: Path, store: Store, key: ec.EllipticCurvePrivateKey, policy: Policy) -> None:
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
        return list(json.loads((layout / "index.json").read_bytes())["manifests"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{layout} is not an OCI layout: index.json cannot be read ({error})") from error


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
