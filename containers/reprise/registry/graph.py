"""What belongs to a manifest of the store: its blobs, an index's manifests, and all that refers to any of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from reprise.registry.manifest import Descriptor, ReadManifest, read_manifest
from reprise.store import Store
from reprise_trainer.errors import NotFoundError, RepriseError

DEPTH_LIMIT = 8
"""Levels of manifests under each other; ours have three (image, archive, signature of the archive)."""


@dataclass(frozen=True, slots=True)
class Graph:
    """`manifests` in the order in which they can be pushed (parts before wholes, subjects before referrers)."""

    root: str
    manifests: dict[str, ReadManifest]

    @property
    def blobs(self) -> dict[str, Descriptor]:
        """Every blob once, by digest."""
        return {blob.digest: blob for manifest in self.manifests.values() for blob in manifest.blobs}

    @property
    def referrers(self) -> dict[str, dict[str, ReadManifest]]:
        """The manifests with a subject, by the subject's digest."""
        found: dict[str, dict[str, ReadManifest]] = defaultdict(dict)
        for digest, manifest in self.manifests.items():
            if manifest.subject:
                found[manifest.subject][digest] = manifest
        return dict(found)


def store_graph(store: Store, root: str) -> Graph:
    """The graph of a manifest in the store.

    Raises:
        NotFoundError: the store lacks the manifest, or a blob of it or of its referrers.
        InputError: a manifest is damaged or malformed.
    """
    pointing: dict[str, list[str]] = defaultdict(list)
    for digest in store.listed():
        if subject := _subject(store, digest):
            pointing[subject].append(digest)
    manifests: dict[str, ReadManifest] = {}

    def add(digest: str, depth: int) -> None:
        if digest in manifests or depth > DEPTH_LIMIT:
            return
        manifest = read_manifest(store.read(digest), digest)
        for child in manifest.children:
            add(child.digest, depth + 1)
        for blob in manifest.blobs:
            _expect_blob(store, digest, blob)
        manifests[digest] = manifest
        for referrer in sorted(pointing[digest]):
            add(referrer, depth + 1)

    add(root, 0)
    return Graph(root, manifests)


def _subject(store: Store, digest: str) -> str:
    try:
        return read_manifest(store.read(digest), digest).subject
    except RepriseError:
        return ""  # a damaged artifact speaks for nothing


def _expect_blob(store: Store, manifest: str, blob: Descriptor) -> None:
    if not store.has(blob.digest):
        raise NotFoundError(
            f"the store {store.root} lacks {blob.title or 'a blob'} ({blob.digest}) of {manifest}",
            hint="`reprise build ENV` makes an image whole again, `reprise pull REF` what was pulled.",
        )
