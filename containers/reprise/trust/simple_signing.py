"""Signatures of the older kind ("simple signing"), which cosign 1 and 2, skopeo, podman and CRI-O read.

Unlike a bundle, such a signature names the repository that the image is in; so it is made for one. In the store it is
an artifact that refers to the image; a push to that repository also puts it where those tools look. Only a key makes
them, and `reprise verify` counts none: a policy's statements are in bundles.

Source: containers-signature(5) for the payload, cosign's SIGNATURE_SPEC.md for how it is kept beside an image.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.store import Store
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError, RepriseError
from reprise_trainer.identity.bundle import SigningKey
from reprise_trainer.identity.strict_json import parse_json

SIMPLE_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_NOTE = "dev.cosignproject.cosign/signature"
"""The annotation that holds the signature (DER, base64) of a payload."""

PAYLOAD_LIMIT = 1 << 16
"""Bytes of a payload; ours have about 300."""


@dataclass(frozen=True, slots=True)
class SimpleSignature:
    """A payload (JSON bytes) with its digest in the store, its signature (DER, base64), and what the payload names."""

    payload: bytes
    blob: str
    signature: str
    image: str
    repository: str

    def is_by(self, key: ec.EllipticCurvePublicKey) -> bool:
        """Whether a key made the signature."""
        try:
            key.verify(base64.b64decode(self.signature, validate=True), self.payload, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):  # what is not base64, or not even ASCII
            return False
        return True


def sign_simply(store: Store, digest: str, repository: str, key: SigningKey) -> str:
    """Sign an image or index as what is in a repository, unless this key has done so; keep it beside the image.

    Args:
        digest: of the manifest or index.
        repository: `host/path`, as the tools that check it are asked for it.
        key: a P-256 key.

    Returns:
        The digest of the referrer manifest.

    Raises:
        NotFoundError: the store does not hold the image.
        InputError: the key's signature does not verify: what keeps the key is broken.
    """
    for referrer, found in simple_signatures(store, digest):
        if found.repository == repository and found.is_by(key.public_key()):
            return referrer
    payload = simple_payload(digest, repository)
    signature = base64.b64encode(key.sign(payload, ec.ECDSA(hashes.SHA256()))).decode()
    if not SimpleSignature(payload, "", signature, digest, repository).is_by(key.public_key()):
        raise InputError("the key's signature does not verify with its own public half; nothing was written")
    return store.attach(digest, SIMPLE_TYPE, [("", SIMPLE_TYPE, payload)], {SIGNATURE_NOTE: signature})


def simple_payload(digest: str, repository: str) -> bytes:
    """What is signed: this digest is what `repository` holds."""
    return canonical_json(
        {
            "critical": {
                "identity": {"docker-reference": repository},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )


def simple_signatures(store: Store, digest: str) -> list[tuple[str, SimpleSignature]]:
    """Those in the store about an image: (referrer manifest digest, signature), oldest first; nothing is verified."""
    referrers = [str(each["digest"]) for each in store.referrers(digest) if each.get("artifactType") == SIMPLE_TYPE]
    found = [(referrer, read_simple_signature(store, referrer)) for referrer in referrers]
    return [(referrer, signature) for referrer, signature in found if signature and signature.image == digest]


def read_simple_signature(store: Store, referrer: str) -> SimpleSignature | None:
    """The signature that a referrer manifest holds; None where it holds none, or is damaged."""
    try:
        match store.manifest(referrer):
            case {"layers": [{"digest": str(blob)}], "annotations": {**notes}}:
                payload = _payload(store, blob)
                document: Any = parse_json(payload, "signature payload", size_limit=PAYLOAD_LIMIT)
                critical = document["critical"]
                image, place = critical["image"]["docker-manifest-digest"], critical["identity"]["docker-reference"]
                return SimpleSignature(payload, blob, str(notes.get(SIGNATURE_NOTE)), str(image), str(place))
    except (RepriseError, LookupError, TypeError):
        pass
    return None


def _payload(store: Store, blob: str) -> bytes:
    if store.path(blob).stat().st_size > PAYLOAD_LIMIT:
        raise InputError(f"a signature payload has at most {PAYLOAD_LIMIT} bytes")
    return store.read(blob)
