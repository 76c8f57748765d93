"""The bill of materials of an image in the store: made from its lock, kept beside it, signed."""

from __future__ import annotations

import json

from reprise.bom.contents import read_packages, requested
from reprise.bom.document import MEDIA_TYPE, Subject, cyclonedx_document
from reprise.build import SOURCE_LABEL
from reprise.store import Store
from reprise.stored_image import read_image_lock, read_inventory
from reprise.trust.sign import attest
from reprise.trust.signer import Signs
from reprise_trainer.canonical import sha256_digest

CYCLONEDX = "https://cyclonedx.org/bom"
"""Predicate type of a CycloneDX attestation (in-toto's list of predicates; cosign's `--type cyclonedx`)."""

_FILE = "bom.cdx.json"


def bill_of_materials(store: Store, digest: str) -> bytes:
    """The CycloneDX document (canonical JSON) of an image in the store, made from the lock that the image names.

    Raises:
        NotFoundError: the image, its lock or an artifact is not in the store.
        DoesNotHoldError: only locks with another digest than the image names lie beside it.
        InputError: reprise did not build the image, or an artifact cannot be read.
    """
    inventory = read_inventory(store, digest)
    lock, environment, files = read_image_lock(store, digest, inventory)
    packages = read_packages(lock, files, store)
    labels = inventory.config["config"]["Labels"]
    subject = Subject(
        lock.environment, digest, lock.created, requested(environment, packages), labels.get(SOURCE_LABEL, "")
    )
    return cyclonedx_document(subject, packages)


def keep_bill(store: Store, digest: str, document: bytes) -> str:
    """Keep a bill of materials as a referrer of its image, once; the referrer manifest's digest."""
    for manifest in store.referrers(digest, MEDIA_TYPE):
        layers = manifest.get("layers")  # others' referrers may have any form
        if isinstance(layers, list) and sha256_digest(document) in [
            layer.get("digest") for layer in layers if isinstance(layer, dict)
        ]:
            return str(manifest["digest"])
    return store.attach(digest, MEDIA_TYPE, [(_FILE, MEDIA_TYPE, document)])


def attest_bill(store: Store, digest: str, key: Signs) -> str:
    """Make an image's bill of materials, keep it beside the image, and sign it as an in-toto attestation.

    The document is always made anew from the lock: one that came with a pulled image is never signed unread.

    Returns:
        The digest of the attestation's referrer manifest.

    Raises:
        NotFoundError, DoesNotHoldError, InputError: as `bill_of_materials`.
    """
    document = bill_of_materials(store, digest)
    keep_bill(store, digest, document)
    predicate = json.loads(document)
    return attest(store, digest, predicate["metadata"]["component"]["name"], key, CYCLONEDX, predicate)
