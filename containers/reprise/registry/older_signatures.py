"""Signatures under the tag `sha256-<hex>.sig`, where cosign 1 and 2, skopeo and podman look for an image's signatures.

One manifest holds those of all signers, a layer each, and is changed by reading and writing it: layers that others
wrote stay as they are.

Source: cosign's SIGNATURE_SPEC.md ("Storage"). Its config is an image's, with the layers as diff_ids: they are not
compressed.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from reprise.registry.graph import Graph
from reprise.registry.manifest import ReadManifest
from reprise.registry.repository import Repository
from reprise.registry.shared_tag import change_shared_tag
from reprise.registry.upload import upload_blob
from reprise.store import Store
from reprise.store.platforms import INDEX_TYPES
from reprise.trust.simple_signing import (
    PAYLOAD_LIMIT,
    SIGNATURE_NOTE,
    SIMPLE_TYPE,
    SimpleSignature,
    read_simple_signature,
    simple_signatures,
)
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError
from reprise_trainer.identity.inventory import CONFIG_TYPE, MANIFEST_TYPE

CERTIFICATE_NOTE = "dev.sigstore.cosign/certificate"

SIGNATURES_LIMIT = 256
"""Signatures of one image that are kept; more than that is not a set of signatures any more."""

_NO_TIME = "0001-01-01T00:00:00Z"


def signature_tag(image: str) -> str:
    """The tag under which an image's signatures are."""
    return f"{image.replace(':', '-')}.sig"


def signatures_for(store: Store, graph: Graph, repository: Repository) -> dict[str, list[SimpleSignature]]:
    """The signatures of this kind in a graph that name `repository`, by the image that they are about."""
    place = f"{repository.registry.host}/{repository.name}"
    found = defaultdict(list)
    for image, referrers in graph.referrers.items():
        for digest, referrer in referrers.items():
            signature = read_simple_signature(store, digest) if referrer.artifact_type == SIMPLE_TYPE else None
            if signature and (signature.image, signature.repository) == (image, place):
                found[image].append(signature)
    return dict(found)


def write_signatures(
    store: Store, repository: Repository, image: str, signatures: Sequence[SimpleSignature]
) -> list[SimpleSignature]:
    """Make the tag of `image` hold these signatures beside what it holds, and read them back.

    Args:
        store: holds their payloads, which the registry has already.

    Returns:
        Those that were missing.

    Raises:
        DoesNotHoldError: what was read back is not what was sent.
        InputError: the tag leads to an index, which is no place for signatures.
        UnavailableError: other writers undo it again and again, or the registry does not answer.
    """
    tag = signature_tag(image)
    alone, _ = _manifest(None, signatures)
    if repository.has_manifest(tag) == sha256_digest(alone):
        return []  # as we alone write it
    wrote: list[SimpleSignature] = []

    def change(found: ReadManifest | None) -> tuple[bytes, str] | None:
        document = _signatures_manifest(found, tag) if found else None
        here = {_key(layer) for layer in document["layers"]} if document else set()
        missing = [each for each in signatures if (each.blob, each.signature) not in here]
        if not missing:
            return None
        wrote.extend(each for each in missing if each not in wrote)
        manifest, config = _manifest(document, missing)
        digest = store.add(config)
        if not repository.has_blob(digest, len(config)):
            upload_blob(repository, store.path(digest), digest, len(config))
        return manifest, found.media_type if found else MANIFEST_TYPE

    change_shared_tag(repository, tag, change)
    for each in wrote:
        _read_back(repository, each)
    return wrote


def bring_signatures(repository: Repository, image: str, store: Store) -> list[str]:
    """Keep beside an image in the store the signatures by keys that its tag in a registry holds, whoever wrote them.

    Nothing is verified. What is malformed or too large is left out, and so are signatures by certificates.

    Returns:
        What was left out, and why.
    """
    tag, skipped = signature_tag(image), []
    if not repository.has_manifest(tag):
        return []
    known = {(each.blob, each.signature) for _, each in simple_signatures(store, image)}
    try:
        found = repository.manifest(tag)
        layers = _signatures_manifest(found, tag)["layers"]
    except (DoesNotHoldError, InputError, NotFoundError) as error:
        return [f"{tag}: {error.message}"]
    for layer, blob in zip(layers[:SIGNATURES_LIMIT], found.blobs[1:], strict=False):
        key = _key(layer)
        if blob.media_type != SIMPLE_TYPE or not key[1] or key in known or CERTIFICATE_NOTE in layer["annotations"]:
            continue
        try:
            payload = repository.small_blob(blob.digest, PAYLOAD_LIMIT)
        except (DoesNotHoldError, InputError, NotFoundError) as error:
            skipped.append(f"{tag}, {blob.digest}: {error.message}")
            continue
        store.attach(image, SIMPLE_TYPE, [("", SIMPLE_TYPE, payload)], {SIGNATURE_NOTE: key[1]})
    return skipped


def _signatures_manifest(found: ReadManifest, tag: str) -> dict[str, Any]:
    """What the tag leads to, parsed: `read_manifest` found `layers` to be a list of descriptors."""
    if found.media_type in INDEX_TYPES:
        raise InputError(
            f"{found.digest} is an index, where a manifest of signatures belongs",
            hint=f"Delete the tag {tag} in the registry: it is no set of signatures.",
        )
    document: dict[str, Any] = json.loads(found.data)
    return document


def _key(layer: Mapping[str, Any]) -> tuple[str, str]:
    notes = layer.get("annotations")
    signature = notes.get(SIGNATURE_NOTE) if isinstance(notes, dict) else None
    return str(layer.get("digest")), signature if isinstance(signature, str) else ""


def _manifest(document: Mapping[str, Any] | None, added: Sequence[SimpleSignature]) -> tuple[bytes, bytes]:
    """The manifest (a new one without `document`) with the signatures as further layers, and its config."""
    document = document or {"schemaVersion": 2, "mediaType": MANIFEST_TYPE}
    layers = [*document.get("layers", []), *map(_layer, sorted(added, key=lambda each: each.signature))]
    config = canonical_json(
        {
            "architecture": "",
            "config": {},
            "created": _NO_TIME,
            "history": [{"created": _NO_TIME} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
    )
    kind = (document.get("config") or {}).get("mediaType", CONFIG_TYPE)
    descriptor = {"mediaType": kind, "digest": sha256_digest(config), "size": len(config)}
    return canonical_json({**document, "config": descriptor, "layers": layers}), config


def _layer(signature: SimpleSignature) -> dict[str, Any]:
    return {
        "mediaType": SIMPLE_TYPE,
        "digest": signature.blob,
        "size": len(signature.payload),
        "annotations": {SIGNATURE_NOTE: signature.signature},
    }


def _read_back(repository: Repository, signature: SimpleSignature) -> None:
    if repository.small_blob(signature.blob, PAYLOAD_LIMIT) != signature.payload:
        raise DoesNotHoldError(f"the registry gives another payload for {signature.blob}")
