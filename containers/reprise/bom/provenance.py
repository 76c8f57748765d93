"""How an image was built, as SLSA provenance v1: a function of the image, but for who says that it was built so.

Times and the number of a run are left out (both are optional): two builds of one lock would differ in nothing else, and
signing once more would say nothing new.

Source: SLSA v1 "Provenance" (predicate, ResourceDescriptor of in-toto).
"""

from __future__ import annotations

import re
from typing import Any

from reprise.build import SOURCE_LABEL
from reprise.lock.model import Artifact, Lock
from reprise.store import Store
from reprise.stored_image import read_image_lock, read_inventory
from reprise.trust.sign import attest
from reprise.trust.signer import Signs
from reprise_trainer.errors import InputError

SLSA_PROVENANCE = "https://slsa.dev/provenance/v1"
"""Predicate type of SLSA provenance (cosign's `--type slsaprovenance1`)."""

BUILD_TYPE = "urn:reprise:build:v1"
"""What `externalParameters` and `resolvedDependencies` mean; docs/signing.md describes it."""

LOCAL_BUILDER = "urn:reprise:builder:local"
"""A builder that nobody named: the machine of whoever signed."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+\Z")
"""A URI's scheme and what follows it (RFC 3986), as far as a type URI needs a check."""


def provenance(lock: Lock, source: str, builder: str = LOCAL_BUILDER) -> dict[str, Any]:
    """The predicate: builder, lock, and every artifact that the build read.

    Args:
        lock: what the image was built from; those artifacts that only the builder uses count, too.
        source: digest (`sha256:<hex>`) of the trainer's source archive; empty for an image without one.
        builder: URI of who built it; it is the one part that doesn't follow from the image.

    Raises:
        InputError: `builder` is not a URI.
    """
    require_uri(builder)
    ordered = sorted(lock.artifacts, key=lambda artifact: (artifact.purl, artifact.category))
    dependencies = [_dependency(each) for each in ordered]
    if source:
        dependencies.append({"name": "reprise-trainer", "digest": _sha256(source)})
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "environment": lock.environment,
                "format": lock.format,
                "lock": lock.digest,
                "platform": lock.platform,
            },
            "resolvedDependencies": dependencies,
        },
        "runDetails": {"builder": {"id": builder}},
    }


def require_uri(builder: str) -> None:
    """Raises InputError unless a builder's id is a URI, as SLSA asks."""
    if not _URI.match(builder):
        raise InputError(f"the builder's id must be a URI, not {builder!r}", hint="For example: urn:example:builder:ci")


def image_provenance(store: Store, digest: str, builder: str = LOCAL_BUILDER) -> dict[str, Any]:
    """The provenance of an image in the store, from the lock that the image names.

    Raises:
        NotFoundError: the image or its lock is not in the store.
        DoesNotHoldError: only locks with another digest than the image names lie beside it.
        InputError: reprise did not build the image, or `builder` is not a URI.
    """
    inventory = read_inventory(store, digest)
    lock, _, _ = read_image_lock(store, digest, inventory)
    return provenance(lock, inventory.config["config"]["Labels"].get(SOURCE_LABEL, ""), builder)


def attest_provenance(store: Store, digest: str, key: Signs, builder: str = LOCAL_BUILDER) -> str:
    """Sign the provenance of an image as an in-toto attestation beside it.

    Returns:
        The digest of the attestation's referrer manifest.

    Raises:
        NotFoundError, DoesNotHoldError, InputError: as `image_provenance`.
    """
    predicate = image_provenance(store, digest, builder)
    name = predicate["buildDefinition"]["externalParameters"]["environment"]
    return attest(store, digest, name, key, SLSA_PROVENANCE, predicate)


def _dependency(artifact: Artifact) -> dict[str, Any]:
    """An artifact as a ResourceDescriptor; what stays out of the image is marked."""
    described: dict[str, Any] = {"uri": artifact.purl, "digest": _sha256(artifact.digest)}
    return described if artifact.category == "main" else {**described, "annotations": {"category": artifact.category}}


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
