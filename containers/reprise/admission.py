"""May a container runtime pull this? The runtime asks, which has resolved the reference; the registry has the answer.

Nothing is kept and no layer is asked for. A runtime pulls one image of an index, and which is its own choice: so the
index must hold, whose signature covers the digests of its images, or every image in it; and nothing of it is revoked.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from reprise.registry.checked_pull import bring_parts, bring_small
from reprise.registry.manifest import ReadManifest
from reprise.registry.origin import RegistryOrigin
from reprise.registry.reference import Reference, parse_reference
from reprise.registry.repository import open_repository
from reprise.store import Store
from reprise.store.platforms import INDEX_TYPES, parts_of
from reprise.trust.verify import VerifyReport, verify_image
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import BUNDLE_TYPE
from reprise_trainer.identity.policy import Policy

DESCRIPTOR_TYPE = "application/vnd.oci.descriptor.v1+json"
INPUT_LIMIT = 1 << 20
"""Bytes that a runtime may say about an image beside its name and digest."""


def admit(name: str, digest: str, policy: Policy, *, certificates: Path | None = None) -> tuple[VerifyReport, ...]:
    """What was judged, when the policy lets a runtime pull `digest` under `name`: the manifest, or an index's images.

    A tag's past is not judged: going back on purpose is what a cluster does when a rollout is undone.

    Args:
        name: the reference that the runtime was given.
        digest: what it resolved to, which is what it will pull.
        certificates: file of certificate authorities for the registry.

    Raises:
        DoesNotHoldError: the policy does not hold, or `name` has another digest.
        InputError, NotFoundError, UnavailableError: the registry does not give what has to be judged.
    """
    reference = parse_reference(name)
    if not DIGEST_PATTERN.match(digest):
        raise InputError(f"{digest[:100]!r} is not a sha256 digest")
    if reference.digest not in ("", digest):
        raise DoesNotHoldError(f"{name} names another digest than the one that is to be pulled, {digest}")
    origin = RegistryOrigin(reference.at(digest), open_repository(reference, certificates))
    root = origin.root()
    with tempfile.TemporaryDirectory(prefix="reprise-admit-") as folder:
        judged = Store.open(Path(folder, "store"))
        report = _judge(origin, root, judged, reference, policy)
        is_final = report.holds or not root.children or _names_revoked(judged, root, policy)
        if is_final or root.media_type not in INDEX_TYPES:
            report.require()
            return (report,)
        manifests = [origin.manifest(child.digest) for child in root.children]
        reports = tuple(_judge(origin, manifest, judged, reference, policy) for manifest in manifests)
    for each in reports:
        each.require()
    return reports


def _names_revoked(judged: Store, index: ReadManifest, policy: Policy) -> bool:
    """Whether the index is revoked or anything that it names, so that no image of it can make it good."""
    revoked = set(policy.revoked_images)
    return bool(revoked) and not revoked.isdisjoint((index.digest, *parts_of(judged, index.digest)))


def require_same_image(media_type: str, document: bytes, digest: str) -> None:
    """What a runtime says on standard input must be about the digest that it names; other kinds of input say nothing
    that is judged here.

    Raises:
        InputError: it is not the descriptor that it is said to be, or one of something else.
    """
    if media_type != DESCRIPTOR_TYPE:
        return
    try:
        described = json.loads(document)["digest"]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError("standard input holds no OCI descriptor") from error
    if described != digest:
        raise InputError(f"the descriptor on standard input is of {str(described)[:100]}, not of {digest}")


def _judge(
    origin: RegistryOrigin, manifest: ReadManifest, judged: Store, reference: Reference, policy: Policy
) -> VerifyReport:
    bring_small(origin, manifest, judged, (BUNDLE_TYPE,))
    if policy.revoked_images:  # else nobody asks what an index names
        bring_parts(origin, manifest, judged)
    return verify_image(judged, manifest.digest, policy, references=[str(reference.at(manifest.digest))])
