"""Signing an image: a bundle in the store, as the OCI referrer that cosign 3 writes and finds.

Source: cosign's BUNDLE_SPEC.md, and what cosign 3.1.1 pushes: an empty config, one layer, annotations that say what
kind of statement the bundle holds. The annotation `org.opencontainers.image.created` is left out: it would come from
the clock, and no reader needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reprise.store import Store
from reprise.trust.signer import Signs, as_signer
from reprise_trainer.errors import DoesNotHoldError, RepriseError
from reprise_trainer.identity.bundle import (
    BUNDLE_TYPE,
    IMAGE_SIGNATURE,
    SIZE_LIMIT,
    VerifiedStatement,
    make_statement,
    verify_bundle,
)
from reprise_trainer.identity.policy import Policy

CONTENT = "dev.sigstore.bundle.content"
PREDICATE_TYPE = "dev.sigstore.bundle.predicateType"


def sign_image(store: Store, digest: str, name: str, key: Signs) -> str:
    """Sign an image and keep the signature beside it.

    Nothing is written when this key has signed the image already (two signatures by one key say no more than one).

    Args:
        store: holds the image.
        digest: the image's manifest digest.
        name: what people call it (the environment's name); readers of in-toto statements require one.
        key: a P-256 key, or another signer.

    Returns:
        The digest of the referrer manifest.

    Raises:
        NotFoundError: the store does not hold the image.
    """
    return attest(store, digest, name, key, IMAGE_SIGNATURE, {})


def attest(
    store: Store,
    digest: str,
    name: str,
    key: Signs,
    predicate_type: str,
    predicate: Mapping[str, Any],
) -> str:
    """Sign a statement about an image and keep it beside the image, unless this key has signed the same already.

    Args:
        store, digest, name, key: as for `sign_image`.
        predicate_type: a URI; `predicate` is what is said, as canonical JSON takes it.

    Returns:
        The digest of the referrer manifest.

    Raises:
        NotFoundError: the store does not hold the image.
    """
    store.read(digest)
    signer = as_signer(key)
    for referrer, bundle in stored_bundles(store, digest):
        said = signer.read(bundle)
        if said and said.is_about(digest) and (said.predicate_type, said.predicate) == (predicate_type, predicate):
            return referrer
    bundle = signer.sign(make_statement(name, digest, predicate_type, predicate))
    return attach_bundle(store, digest, bundle, predicate_type)


def attach_bundle(store: Store, subject: str, bundle: bytes, predicate_type: str) -> str:
    """Keep a bundle as a referrer of the manifest `subject`; the referrer manifest's digest."""
    annotations = {CONTENT: "dsse-envelope", PREDICATE_TYPE: predicate_type}
    return store.attach(subject, BUNDLE_TYPE, [("", BUNDLE_TYPE, bundle)], annotations)


def stored_bundles(store: Store, subject: str) -> list[tuple[str, bytes]]:
    """Every bundle that points at `subject`: (referrer manifest digest, bundle bytes), oldest first.

    The kind is read from each manifest, never from its index entry, which other writers fill in wrongly
    (sigstore/cosign#4641). A referrer that is damaged is left out: it can't be a signature that holds.
    """
    found = []
    for manifest in store.referrers(subject):
        layers = manifest.get("layers")
        if manifest.get("artifactType") != BUNDLE_TYPE or not isinstance(layers, list) or len(layers) != 1:
            continue
        try:
            blob = layers[0]["digest"]
            if store.path(blob).stat().st_size <= SIZE_LIMIT:
                found.append((manifest["digest"], store.read(blob)))
        except (RepriseError, TypeError, KeyError):
            continue
    return found


def find_signature(store: Store, digest: str, policy: Policy) -> tuple[bytes, VerifiedStatement]:
    """The image signature kept beside an image that a key of the policy made: its bundle and its statement.

    Raises:
        DoesNotHoldError: no key of the policy signed this image.
    """
    keys = policy.public_keys()
    for _, bundle in stored_bundles(store, digest):
        try:
            statement = verify_bundle(bundle, keys)
        except RepriseError:
            continue
        if statement.predicate_type == IMAGE_SIGNATURE and statement.is_about(digest):
            return bundle, statement
    raise DoesNotHoldError(
        f"image {digest} is not signed by a key of the policy", hint="Sign it with: reprise sign IMAGE"
    )


def signed_digest(store: Store, digest: str, policy: Policy) -> str:
    """The digest that a signature beside an image names, in the signed statement's own words.

    Raises:
        DoesNotHoldError: no key of the policy signed this image.
    """
    _, statement = find_signature(store, digest, policy)
    return next(subject.digest for subject in statement.subjects if subject.digest == digest)
