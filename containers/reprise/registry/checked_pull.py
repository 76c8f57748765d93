"""Registry → store in two steps: first what a judgement needs, and only once it is passed the layers."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from reprise.events import OnEvent, ignore
from reprise.registry.manifest import MANIFEST_LIMIT, ReadManifest, read_manifest
from reprise.registry.origin import Origin
from reprise.registry.pull import MANIFESTS_LIMIT, NOBODY, Arrival, PullReport, bring_blob, bring_blobs
from reprise.store import Store
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError

REFERRER_LIMIT = 32 << 20
"""Bytes in all of a referrer that comes in before the judgement: anybody who may push can attach one."""

REFERRERS_LIMIT = 256
"""Referrers of the kinds asked for; more than that is not a set of signatures any more."""

Check = Callable[[Store, str], None]
"""Judges an image (its digest) by what a store holds of it, and raises where it may not be used."""


def pull_checked(
    origin: Origin,
    store: Store,
    check: Check,
    *,
    root: ReadManifest,
    kinds: Collection[str],
    tag: str = "",
    on_event: OnEvent = ignore,
    arrival: Arrival = NOBODY,
) -> PullReport:
    """Bring an image into the store, if `check` lets it in.

    Manifest, config and referrers go to a store of their own, which is what is judged. When the check raises, the store
    is as it was and no layer was asked for; else exactly the manifest that was judged is brought, by its digest.

    Args:
        check: called once, before a layer is asked for.
        root: the image's manifest.
        kinds: artifact types of the referrers to bring along; of others not even the blobs are asked for.
        tag: what the store calls the image; empty for no name.
        on_event: told of the layers' progress.
        arrival: told what of the image is here, once the check has let it in.

    Raises:
        InputError: a part is malformed or too large.
        NotFoundError, UnavailableError, DoesNotHoldError: as `pull`; and what `check` raises.
    """
    report = PullReport(root.digest, tag=tag)
    with judging_store(store) as judged:
        manifests, report.skipped = bring_small(origin, root, judged, kinds)
        check(judged, root.digest)
        store.add(judged.read(root.blobs[0].digest))
        arrival.begin(root.data)
        bring_blobs(origin, store, [root], {root.digest}, report, on_event, arrival)
        for manifest in manifests:
            _adopt(manifest, judged, store, tag if manifest is root else "")
            report.manifests.append(manifest.digest)
    return report


def _require_small_config(root: ReadManifest) -> None:
    if root.blobs and root.blobs[0].size > MANIFEST_LIMIT:
        raise InputError(f"{root.digest} has a config of {root.blobs[0].size} bytes, at most {MANIFEST_LIMIT} are read")


@contextmanager
def judging_store(store: Store) -> Iterator[Store]:
    """An empty store for the length of the block: what is in it is judged, and nothing of it is in `store` yet."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="judge-", dir=store.root / "partial")
    except OSError as error:
        raise storage_error(error, store.root) from error
    with folder as name:
        yield Store.open(Path(name, "store"))


def bring_small(
    origin: Origin, root: ReadManifest, judged: Store, kinds: Collection[str]
) -> tuple[list[ReadManifest], list[str]]:
    """An image's manifest and config (or an index), and its small referrers of these kinds, into `judged`.

    Returns:
        The manifests that came, that of the image first; and which referrers were left out, and why.

    Raises:
        InputError: the config is too large, or there are too many referrers; and as for `bring_blob`.
    """
    _require_small_config(root)
    for config in root.blobs[:1]:
        bring_blob(origin, config, judged, threading.Event())
    judged.put_manifest(root.data, root.media_type)
    manifests, skipped = [root], []
    for referrer in origin.referrers(root.digest):
        try:
            found = origin.manifest(referrer.digest)
            if found.subject != root.digest or found.artifact_type not in kinds:
                continue
            if sum(blob.size for blob in found.blobs) > REFERRER_LIMIT:
                raise InputError(f"it has more than {REFERRER_LIMIT} bytes")
            for blob in found.blobs:
                bring_blob(origin, blob, judged, threading.Event())
        except (DoesNotHoldError, InputError, NotFoundError) as error:
            skipped.append(f"{referrer.digest}: {error.message}")  # anybody may attach rubbish to an image
            continue
        judged.put_manifest(found.data, found.media_type, artifact_type=found.artifact_type)
        manifests.append(found)
        if len(manifests) > REFERRERS_LIMIT:
            raise InputError(f"{root.digest} has more than {REFERRERS_LIMIT} referrers of the kinds asked for")
    return manifests, skipped


def bring_parts(origin: Origin, index: ReadManifest, judged: Store) -> None:
    """The manifests of all that an index names, those of indexes in it among them, into `judged`; of an image nothing.

    Raises:
        NotFoundError, UnavailableError, DoesNotHoldError: the place does not give one.
        InputError: one is malformed, or there are too many.
    """
    brought, waiting = {index.digest}, [child.digest for child in index.children]
    while waiting:
        digest = waiting.pop()
        if digest in brought:
            continue
        if len(brought) > MANIFESTS_LIMIT:
            raise InputError(f"{index.digest} has more than {MANIFESTS_LIMIT} manifests")
        found = origin.manifest(digest)
        judged.put_manifest(found.data, found.media_type)
        brought.add(digest)
        waiting += [child.digest for child in found.children]


def _adopt(manifest: ReadManifest, judged: Store, store: Store, tag: str) -> None:
    """Put a manifest into the store, with those of its blobs that were judged; an image's layers are there already."""
    for blob in manifest.blobs:
        if not store.has(blob.digest):
            store.add(judged.read(blob.digest))
    store.put_manifest(
        manifest.data, manifest.media_type, tag=tag or None, artifact_type=manifest.artifact_type or None
    )


def is_whole(store: Store, digest: str) -> bool:
    """Whether the store has an image's manifest, config and layers; never of an index, which has none of its own."""
    if not store.has(digest) or digest not in store.listed():
        return False
    blobs = read_manifest(store.read(digest), digest).blobs
    return bool(blobs) and all(store.has(blob.digest) for blob in blobs)
