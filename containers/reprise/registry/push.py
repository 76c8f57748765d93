"""Store → registry: an image or artifact with everything that refers to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from reprise.events import OnEvent, ignore
from reprise.registry.graph import Graph, store_graph
from reprise.registry.known import KnownBlobs
from reprise.registry.manifest import Descriptor, ReadManifest
from reprise.registry.reference import Reference
from reprise.registry.referrers import are_listed, list_in_fallback
from reprise.registry.repository import Repository, open_repository
from reprise.registry.upload import upload_blob
from reprise.store import Store
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import BUNDLE_TYPE

QUESTIONS = 8
"""HEAD requests at a time."""

UPLOADS = 4
"""Uploads at a time."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class PushReport:
    """What a push did: `reference` names the image by its digest, `tag` is what was set to it (empty: none);
    the lists are of digests."""

    reference: str
    digest: str
    tag: str = ""
    present: list[str] = field(default_factory=list)
    mounted: list[str] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    older_signatures: int = 0
    bytes: int = 0
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`: counts, and the bytes that were sent."""
        return {
            "reference": self.reference,
            "digest": self.digest,
            "tag": self.tag,
            "blobs_present": len(self.present),
            "blobs_mounted": len(self.mounted),
            "blobs_uploaded": len(self.uploaded),
            "manifests_put": len(self.manifests),
            "older_signatures_put": self.older_signatures,
            "bytes": self.bytes,
            **({"dry_run": True} if self.dry_run else {}),
        }


def push(
    store: Store,
    digest: str,
    reference: Reference,
    *,
    certificates: Path | None = None,
    dry_run: bool = False,
    on_event: OnEvent = ignore,
) -> PushReport:
    """Make a registry hold a manifest of the store, its blobs, and all that refers to it; and read all of it back.

    What the registry has is not sent again: when nothing has changed, HEAD requests are all that happens.

    Args:
        store: holds the manifest.
        digest: of the manifest.
        reference: where it goes; its tag is set to the manifest, its digest, if any, must be the manifest's.
        certificates: file of certificate authorities for the registry.
        dry_run: only ask what the registry has.
        on_event: told of each upload's progress.

    Raises:
        NotFoundError: the store lacks a part.
        InputError: the registry refuses a part, or the reference has another digest.
        UnavailableError: the registry does not answer, or denies access.
        DoesNotHoldError: what was read back is not what was sent.
    """
    if reference.digest not in ("", digest):
        raise InputError(f"{reference} names another digest than that of the image, {digest}")
    graph = store_graph(store, digest)
    under_way = _Push(store, open_repository(reference, certificates), graph, on_event)
    blobs, manifests = under_way.missing()
    tag = reference.tag or ("" if reference.digest else reference.name)
    report = PushReport(str(reference.at(digest)), digest, tag, dry_run=dry_run)
    report.present = sorted(graph.blobs.keys() - {blob.digest for blob in blobs})
    if dry_run:
        report.uploaded = [blob.digest for blob in blobs]
        report.manifests = [manifest.digest for manifest in manifests]
        report.bytes = sum(blob.size for blob in blobs)
        return report
    under_way.send_blobs(blobs, report)
    under_way.send_manifests(manifests, report)
    under_way.list_referrers(manifests)
    under_way.write_older_signatures(report)
    if tag:
        under_way.set_tag(tag)
    under_way.known.add(under_way.repository.name, graph.blobs)
    return report


class _Push:
    """One push: a graph of the store on its way to a repository."""

    def __init__(self, store: Store, repository: Repository, graph: Graph, on_event: OnEvent) -> None:
        self.store, self.repository, self.graph = store, repository, graph
        self.known = KnownBlobs(store, repository.registry.host)
        self._on_event, self._speaking = on_event, threading.Lock()
        self._cancelled = threading.Event()

    def missing(self) -> tuple[list[Descriptor], list[ReadManifest]]:
        """What the registry lacks, by HEAD requests alone."""

        def lacks_blob(blob: Descriptor) -> bool:
            return not self.repository.has_blob(blob.digest, blob.size)

        def lacks_manifest(manifest: ReadManifest) -> bool:
            return self.repository.has_manifest(manifest.digest) != manifest.digest

        blobs, manifests = list(self.graph.blobs.values()), list(self.graph.manifests.values())
        with_blobs = self._each(lacks_blob, blobs, QUESTIONS)
        with_manifests = self._each(lacks_manifest, manifests, QUESTIONS)
        return (
            [blob for blob, lacks in zip(blobs, with_blobs, strict=True) if lacks],
            [manifest for manifest, lacks in zip(manifests, with_manifests, strict=True) if lacks],
        )

    def send_blobs(self, blobs: Iterable[Descriptor], report: PushReport) -> None:
        """Upload blobs, the largest first, and ask once more for each whether it is there."""
        elsewhere = self.known.repositories()
        large_first = sorted(blobs, key=lambda blob: blob.size, reverse=True)
        sources = {elsewhere[blob.digest] for blob in large_first if blob.digest in elsewhere}
        scopes = tuple(f"repository:{name}:pull" for name in sorted(sources - {self.repository.name}))
        self.repository.registry.auth.more_scopes = scopes

        def send(blob: Descriptor) -> bool:
            source = elsewhere.get(blob.digest, "")
            path = self.store.path(blob.digest)
            if path.stat().st_size != blob.size:
                raise InputError(f"{path} has {path.stat().st_size} bytes, but the manifest says {blob.size}")
            try:
                mounted = upload_blob(
                    self.repository,
                    path,
                    blob.digest,
                    blob.size,
                    mount_from="" if source == self.repository.name else source,
                    on_progress=lambda sent: self._say(blob, sent),
                )
            except InputError:
                self.store.check(blob.digest)  # a file that rotted is the better message
                raise
            if not self.repository.has_blob(blob.digest, blob.size):
                raise DoesNotHoldError(f"the registry took {blob.digest}, and does not have it afterwards")
            return mounted

        for blob, mounted in zip(large_first, self._each(send, large_first, UPLOADS), strict=True):
            (report.mounted if mounted else report.uploaded).append(blob.digest)
            report.bytes += 0 if mounted else blob.size

    def send_manifests(self, manifests: Iterable[ReadManifest], report: PushReport) -> None:
        """Put manifests, parts before wholes, each read back; of bundles also what is signed."""
        for manifest in manifests:
            self.repository.put_manifest(manifest.data, manifest.media_type, manifest.digest)
            self.repository.manifest(manifest.digest)  # checks the digest of what comes back
            if manifest.artifact_type == BUNDLE_TYPE:
                for blob in manifest.blobs:
                    self.repository.small_blob(blob.digest, blob.size)
            report.manifests.append(manifest.digest)

    def list_referrers(self, sent: list[ReadManifest]) -> None:
        """See to it that whoever asks for the referrers of a manifest finds them all."""
        new, pointing = {manifest.digest for manifest in sent}, self.graph.referrers

        def see_to(subject: str) -> None:
            referrers = pointing[subject]
            if not are_listed(self.repository, subject, referrers, new=not new.isdisjoint(referrers)):
                list_in_fallback(self.repository, subject, referrers)

        self._each(see_to, list(pointing), UPLOADS)

    def write_older_signatures(self, report: PushReport) -> None:
        """Put those that name this repository where cosign 2, skopeo and podman look for them."""
        from reprise.registry.older_signatures import signatures_for, write_signatures  # cryptography: loads slowly

        found = signatures_for(self.store, self.graph, self.repository)

        def write(image: str) -> int:
            return len(write_signatures(self.store, self.repository, image, found[image]))

        report.older_signatures = sum(self._each(write, list(found), UPLOADS))

    def set_tag(self, tag: str) -> None:
        """Let the tag lead to the root, if it does not yet."""
        if self.repository.has_manifest(tag) == self.graph.root:
            return
        root = self.graph.manifests[self.graph.root]
        self.repository.put_manifest(root.data, root.media_type, tag)
        if (found := self.repository.manifest(tag).digest) != root.digest:
            raise DoesNotHoldError(f"the tag {tag} was set to {root.digest}, and leads to {found}")

    def _each(self, work: Callable[[_Item], _Result], items: list[_Item], workers: int) -> list[_Result]:
        """`work` on every item, several at a time; the first failure ends it."""
        if not items:
            return []
        with ThreadPoolExecutor(min(workers, len(items)), thread_name_prefix="push") as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _say(self, blob: Descriptor, sent: int) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        with self._speaking:
            self._on_event({"event": "push", "name": blob.digest[7:19], "bytes": sent, "total": blob.size})


class _CancelledError(Exception):
    """Another thread failed, or the user gave up."""
