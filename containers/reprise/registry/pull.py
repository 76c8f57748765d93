"""Registry (or OCI layout) → store: an image or artifact with everything that refers to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from reprise.artifacts.download import PartialFile, TooLongError, download, partial_file
from reprise.artifacts.patience import NoAnswerError, SilentError
from reprise.artifacts.sources import Candidate
from reprise.events import OnEvent, ignore
from reprise.registry.graph import DEPTH_LIMIT
from reprise.registry.manifest import Descriptor, ReadManifest, read_manifest, require_as_said
from reprise.registry.older_signatures import bring_signatures
from reprise.registry.origin import Origin, RegistryOrigin, image_of
from reprise.registry.reference import Reference, source_name, stored_name
from reprise.registry.repository import open_repository
from reprise.store import Store
from reprise.store.index_entries import TAG
from reprise.store.references import record_pull
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, UnavailableError
from reprise_trainer.identity.bundle import BUNDLE_TYPE, SIZE_LIMIT

DOWNLOADS = 4
"""Downloads at a time."""

MANIFESTS_LIMIT = 2000
"""Manifests of one index with all that refers to it."""

_EVENT_SECONDS = 0.1

_Claim = tuple[str, int]
"""A blob's digest, and the size that a manifest names it with: anybody may attach a manifest that names another one."""


@dataclass(slots=True)
class PullReport:
    """What a pull did; all but `skipped` are digests. `skipped` says which referrers were left out, and why;
    `needed` are the manifests that the reference itself names, without what refers to them."""

    digest: str
    manifests: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    bytes: int = 0
    tag: str = ""
    needed: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "digest": self.digest,
            "tag": self.tag,
            "manifests": len(self.manifests),
            "blobs_present": len(self.present),
            "blobs_fetched": len(self.fetched),
            "bytes": self.bytes,
            "skipped": self.skipped,
        }


class Arrival(Protocol):
    """Who is told, while an image is pulled, what of it is here already."""

    def begin(self, manifest: bytes) -> None:
        """The manifest is known and its config is in the store; its layers are asked for from now on."""

    def whole(self, digest: str) -> None:
        """A blob is here and verified: in the store or, still to be synced, among its partial downloads. Called from
        several threads."""


class _Nobody:
    def begin(self, manifest: bytes) -> None:
        pass

    def whole(self, digest: str) -> None:
        pass


NOBODY: Arrival = _Nobody()


def pull(
    reference: Reference,
    store: Store,
    *,
    tag: str | None = None,
    leave_out: Iterable[str] = (),
    platform: str | None = None,
    certificates: Path | None = None,
    on_event: OnEvent = ignore,
    arrival: Arrival = NOBODY,
) -> PullReport:
    """Bring what a reference names into the store, with all that refers to it; layers that are there are not fetched.

    Nothing is trusted but digests: whether an image may be used is for `reprise verify` to say. The store remembers
    which reference an image came from, since a policy may allow some repositories alone.

    Args:
        tag: what the store calls it; by default the reference, where it has a tag or no digest.
        leave_out: artifact types of referrers that stay where they are.
        platform: `os/architecture[/variant]`: of an index, only its image for this is brought, under the name.
        certificates: file of certificate authorities for the registry.
        on_event: told of each download's progress.
        arrival: told what of the image itself is here.

    Raises:
        NotFoundError: the registry does not have it.
        UnavailableError: the registry does not answer, denies access, or breaks off; what came in is kept.
        DoesNotHoldError: bytes have another digest than was asked for.
        InputError: a manifest is malformed, too large, or not what it is said to be.
    """
    origin = RegistryOrigin(reference, open_repository(reference, certificates))
    named = stored_name(reference)
    root, chosen_for, _ = image_of(origin, platform) if platform else (origin.root(), "", "")
    wanted_tag = named if tag is None else tag
    report = bring(origin, store, root=root, tag=wanted_tag, leave_out=leave_out, on_event=on_event, arrival=arrival)
    for image in report.needed:
        report.skipped += bring_signatures(origin.repository, image, store)
    record_pull(store, source_name(reference, report.digest), report.needed, platform=chosen_for)
    return report


def bring(
    origin: Origin,
    store: Store,
    *,
    root: ReadManifest | None = None,
    tag: str = "",
    leave_out: Iterable[str] = (),
    on_event: OnEvent = ignore,
    arrival: Arrival = NOBODY,
) -> PullReport:
    """Bring a manifest of `origin` (by default its root), and all that belongs to it, into the store; arguments and
    errors as for `pull`."""
    root = root or origin.root()
    report = PullReport(root.digest, tag=tag)
    manifests, needed = _graph(origin, root, store, frozenset(leave_out), report)
    report.needed = sorted(needed)
    for config in root.blobs[:1]:  # first: who unpacks on arrival needs it
        if not store.has(config.digest):
            report.bytes += bring_blob(origin, config, store, threading.Event())
            report.fetched.append(config.digest)
        arrival.begin(root.data)
    failures = bring_blobs(origin, store, manifests.values(), needed, report, on_event, arrival)
    for digest, manifest in manifests.items():
        if lost := next((failures[_claim(blob)] for blob in manifest.blobs if _claim(blob) in failures), None):
            report.skipped.append(f"{digest}: {lost}")
            continue
        notes = {
            key: value for key, value in manifest.annotations.items() if key != TAG
        }  # a stranger names nothing here
        own_tag = (tag or None) if digest == root.digest else None
        store.put_manifest(
            manifest.data, manifest.media_type, tag=own_tag, artifact_type=manifest.artifact_type, annotations=notes
        )
        report.manifests.append(digest)
    return report


def _graph(
    origin: Origin, root: ReadManifest, store: Store, leave_out: frozenset[str], report: PullReport
) -> tuple[dict[str, ReadManifest], set[str]]:
    """All manifests, parts before wholes, and the digests of those without which the root is not whole."""
    manifests: dict[str, ReadManifest] = {}
    needed: set[str] = set()

    def add(manifest: ReadManifest, depth: int, is_needed: bool) -> None:
        if manifest.digest in manifests:
            return
        if depth > DEPTH_LIMIT or len(manifests) >= MANIFESTS_LIMIT:
            raise InputError(f"{root.digest} has more than {MANIFESTS_LIMIT} manifests or {DEPTH_LIMIT} levels of them")
        for child in manifest.children:
            found = read(child.digest)
            require_as_said(manifest, child, found)
            add(found, depth + 1, is_needed)
        manifests[manifest.digest] = manifest
        if is_needed:
            needed.add(manifest.digest)
        for referrer in origin.referrers(manifest.digest):
            try:
                found = read(referrer.digest)
                _refuse_large_bundle(found)
                if found.subject == manifest.digest and found.artifact_type not in leave_out:
                    add(found, depth + 1, False)
            except (DoesNotHoldError, InputError, NotFoundError) as error:
                report.skipped.append(f"{referrer.digest}: {error.message}")  # anybody may attach rubbish to an image

    def read(digest: str) -> ReadManifest:
        return read_manifest(store.read(digest), digest) if store.has(digest) else origin.manifest(digest)

    add(root, 0, True)
    return manifests, needed


def _refuse_large_bundle(referrer: ReadManifest) -> None:
    """A bundle larger than what is ever read as one is not fetched: anybody could fill a disk with it."""
    size = max((blob.size for blob in referrer.blobs), default=0)
    if referrer.artifact_type == BUNDLE_TYPE and size > SIZE_LIMIT:
        raise InputError(f"a bundle of {size} bytes; at most {SIZE_LIMIT} are read")


def bring_blobs(
    origin: Origin,
    store: Store,
    manifests: Iterable[ReadManifest],
    needed: set[str],
    report: PullReport,
    on_event: OnEvent,
    arrival: Arrival = NOBODY,
) -> dict[_Claim, str]:
    """Download the blobs of `manifests` that the store lacks; errors are raised for those of the `needed` manifests.

    Returns why what another one claims of a blob is not so, or it did not come in; `report` is told what was here and
    what came.
    """
    wanted = _wanted(manifests, needed)
    here = dict.fromkeys(blob.digest for blob, _ in wanted if store.has(blob.digest))
    report.present = [digest for digest in here if digest not in report.fetched]
    for digest in here:
        arrival.whole(digest)
    failures: dict[_Claim, str] = {}
    cancelled, speaking = threading.Event(), threading.Lock()

    def one(blob: Descriptor, is_needed: bool) -> int:
        try:
            if blob.digest in here:
                _require_size(store, blob)
                return 0
            size = bring_blob(origin, blob, store, cancelled, _teller(blob, on_event, speaking), arrival.whole)
            report.fetched.append(blob.digest)
            return size
        except (DoesNotHoldError, InputError, NotFoundError) as error:
            if is_needed:
                raise
            failures[_claim(blob)] = error.message
            return 0

    with ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="pull") as pool:
        futures = [pool.submit(one, *each) for each in wanted]
        try:
            report.bytes += sum(future.result() for future in futures)
        except BaseException:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def _claim(blob: Descriptor) -> _Claim:
    return blob.digest, blob.size


def _wanted(manifests: Iterable[ReadManifest], needed: set[str]) -> list[tuple[Descriptor, bool]]:
    """Each claim that manifests make of a blob, and whether a needed one makes it: those first, largest first."""
    wanted: dict[_Claim, tuple[Descriptor, bool]] = {}
    for manifest in manifests:
        for blob in manifest.blobs:
            _, is_needed = wanted.get(_claim(blob), (blob, False))
            wanted[_claim(blob)] = blob, is_needed or manifest.digest in needed
    return sorted(wanted.values(), key=lambda each: (each[1], each[0].size), reverse=True)


def _require_size(store: Store, blob: Descriptor) -> None:
    """Raises DoesNotHoldError where the store has a blob with another size than a manifest claims."""
    path = store.path(blob.digest)
    size = path.stat().st_size
    if size != blob.size:
        raise DoesNotHoldError(
            f"{blob.digest} has {size} bytes in the store {store.root}, and a manifest says {blob.size}",
            hint=f"If it is the store's file that is damaged, delete {path} and run the command again.",
        )


def bring_blob(
    origin: Origin,
    blob: Descriptor,
    store: Store,
    cancelled: threading.Event,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_whole: Callable[[str], None] = lambda digest: None,
) -> int:
    """Make the store hold a blob, going on from what an earlier download left; the bytes that came in now.

    Args:
        on_whole: called with the digest once it is found right, before the bytes are synced and moved into the store.

    Raises:
        NotFoundError: the place does not have it.
        UnavailableError: the place does not answer.
        InputError: it answers that it does not have it.
        DoesNotHoldError: its bytes have another digest or size than promised.
    """
    candidate = origin.candidate(blob.digest)
    if candidate is None:
        raise NotFoundError(f"{origin.name} lacks {blob.title or 'the blob'} {blob.digest}")
    with partial_file(store.partial(blob.digest)) as partial:
        if store.has(blob.digest):  # another process was faster
            partial.path.unlink(missing_ok=True)  # nothing will be added to it
            _require_size(store, blob)
            on_whole(blob.digest)
            return 0
        before = partial.size
        if not _is_whole(partial, blob):
            _download(origin, candidate, blob, partial, on_progress, cancelled)
        if before and not _is_whole(partial, blob):  # the part that was here may have been a wrong one
            partial.empty()
            before = 0
            _download(origin, candidate, blob, partial, on_progress, cancelled)
        if not _is_whole(partial, blob):
            found = f"sha256:{partial.sha256} ({partial.size} bytes)"
            partial.path.unlink()
            raise DoesNotHoldError(f"{origin.name} gave {found} when asked for {blob.digest} ({blob.size} bytes)")
        on_whole(blob.digest)
        store.add_file(partial.path, blob.digest)
        on_progress(blob.size, blob.size)
        return partial.size - before


def _download(
    origin: Origin,
    candidate: Candidate,
    blob: Descriptor,
    partial: PartialFile,
    on_progress: Callable[[int, int], None],
    cancelled: threading.Event,
) -> None:
    """`download`, with what goes wrong in this place's words."""
    try:
        download(candidate, partial, blob.size, on_progress, cancelled)
    except SilentError as error:
        raise UnavailableError(
            f"{origin.name} breaks off or is silent, asked for {blob.digest}: {error}",
            hint="What came in is kept: the same command goes on from there.",
        ) from error
    except TooLongError as error:
        raise DoesNotHoldError(f"{origin.name} gave {error}, asked for {blob.digest}") from error
    except NoAnswerError as error:
        raise InputError(f"{origin.name} does not give {blob.digest}: {error}") from error


def _is_whole(partial: PartialFile, blob: Descriptor) -> bool:
    return partial.size == blob.size and f"sha256:{partial.sha256}" == blob.digest


def _teller(blob: Descriptor, on_event: OnEvent, speaking: threading.Lock) -> Callable[[int, int], None]:
    """Tells of a download's progress, not too often."""
    said = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < _EVENT_SECONDS and done != blob.size:
            return
        said = now
        with speaking:
            on_event({"event": "pull", "name": blob.title or blob.digest[7:19], "bytes": done, "total": blob.size})

    return tell
