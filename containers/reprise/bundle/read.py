"""Bundle → store: every byte that enters has the digest that something named before it."""

from __future__ import annotations

import builtins
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from reprise.bundle.tar_file import BLOB_FOLDER, Stretch, read_members
from reprise.bundle.write import IS_IMAGE, POLICY_NAME, POLICY_TYPE, REFERENCES, ROOT_NAME, ROOT_TYPE
from reprise.events import OnEvent, ignore
from reprise.registry.checked_pull import REFERRER_LIMIT, Check, judging_store
from reprise.registry.manifest import MANIFEST_LIMIT, Descriptor, ReadManifest, read_manifest
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.store.copies import blob_writer
from reprise.store.index_entries import TAG
from reprise.store.platforms import INDEX_TYPES
from reprise_trainer.canonical import DIGEST_PATTERN, sha256_digest
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError, NotFoundError, StorageError
from reprise_trainer.identity.strict_json import parse_json

_CHUNK = 1 << 20
_REFERENCES_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was loaded: the image's digest, its name in the store, digests of all manifests, the blobs that came in,
    and what else the bundle holds: policy, trusted root (None without one), references. They are no reason to trust."""

    image: str
    name: str
    manifests: tuple[str, ...]
    blobs: int
    bytes: int
    policy: builtins.bytes | None
    trusted_root: builtins.bytes | None
    claimed: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What was loaded, for `--json`."""
        return {
            "image": self.image,
            "name": self.name,
            "manifests": len(self.manifests),
            "blobs_new": self.blobs,
            "bytes": self.bytes,
            "has_policy": self.policy is not None,
            "claimed_references": list(self.claimed),
        }


def claimed_references(file: Path) -> tuple[str, ...]:
    """Where a bundle says that its image was pulled from, which nothing proves.

    Raises:
        NotFoundError, InputError: as `load_bundle`.
    """
    with _opened(file) as bundle:
        return bundle.references


def load_bundle(
    file: Path,
    store: Store,
    *,
    check: Check | None = None,
    names: Sequence[str] = (),
    on_event: OnEvent = ignore,
) -> Loaded:
    """Put all that a bundle holds into the store.

    Args:
        check: judges the image by its manifest, config and referrers; when it raises, no layer was read and the store
            is as it was. Without one the image gets no name: a bundle that nobody vouches for moves no tag.
        names: what the store is to call the image, beside the bundle's own name; none without a `check`.
        on_event: told of each blob's progress.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is no bundle; a digest or size is not what was named; something is in it that nothing names.
        StorageError: there is no room, or the store can't be written.
    """
    with _opened(file) as bundle:
        if check is not None:
            _judge(bundle, store, check)
        name = bundle.name if check is not None else ""  # a stranger names nothing here
        policy, root = bundle.file(POLICY_TYPE, POLICY_NAME), bundle.file(ROOT_TYPE, ROOT_NAME)
        _expect_room(bundle, store)
        fetched = [_bring(bundle, blob, store, on_event) for blob in bundle.blobs.values()]
        tags: list[str | None] = [each for each in (name, *names) if each and check is not None]
        for digest, manifest in bundle.manifests.items():
            kind = manifest.artifact_type or None
            for tag in (tags or [None]) if digest == bundle.image else [None]:
                store.put_manifest(manifest.data, manifest.media_type, tag=tag, artifact_type=kind)
    new = sum(size > 0 for size in fetched)
    return Loaded(bundle.image, name, tuple(bundle.manifests), new, sum(fetched), policy, root, bundle.references)


@dataclass(frozen=True, slots=True)
class _Bundle:
    """A bundle whose headers, index and manifests were read, and fit each other."""

    source: BinaryIO
    what: str
    members: dict[str, Stretch]
    image: str
    name: str
    references: tuple[str, ...] = ()
    manifests: dict[str, ReadManifest] = field(default_factory=dict)
    blobs: dict[str, Descriptor] = field(default_factory=dict)

    def read(self, digest: str) -> bytes:
        """A small blob, checked against its digest."""
        data = _small(self, _member(digest), REFERRER_LIMIT)
        if sha256_digest(data) != digest:
            raise InputError(f"{self.what} is damaged: {digest} has digest {sha256_digest(data)}")
        return data

    def file(self, kind: str, name: str) -> bytes | None:
        """The file of that name in an artifact of that type."""
        for manifest in self.manifests.values():
            for blob in manifest.blobs:
                if manifest.artifact_type == kind and blob.title == name:
                    return self.read(blob.digest)
        return None


def _member(digest: str) -> str:
    return f"{BLOB_FOLDER}/{digest.removeprefix('sha256:')}"


def _small(bundle: _Bundle, name: str, limit: int) -> bytes:
    stretch = bundle.members.get(name)
    if stretch is None:
        raise InputError(f"{bundle.what} is not a whole bundle: it lacks {name}")
    if stretch.size > limit:
        raise InputError(f"{bundle.what}: {name} has {stretch.size} bytes, at most {limit} are read")
    bundle.source.seek(stretch.offset)
    return bundle.source.read(stretch.size)


@contextmanager
def _opened(file: Path) -> Iterator[_Bundle]:
    try:
        source = file.open("rb")
    except OSError as error:
        raise NotFoundError(f"cannot read the bundle {file}: {error.strerror}") from error
    with source:
        yield _open(source, str(file))


def _open(source: BinaryIO, what: str) -> _Bundle:
    members = read_members(source, what)
    entries, root = _index(_Bundle(source, what, members, "", ""))
    name = _notes(root).get(TAG, "")
    bundle = _Bundle(source, what, members, root["digest"], name if isinstance(name, str) else "", _references(root))
    for entry in entries:
        if entry in bundle.manifests:
            raise InputError(f"{what}: index.json lists {entry} twice")
        _add(bundle, entry)
    named = {_member(digest) for digest in (*bundle.manifests, *bundle.blobs)}
    if strange := sorted(members.keys() - named - {"oci-layout", "index.json"}):
        raise InputError(f"{what} holds {strange[0]}, which nothing in it names")
    return bundle


def _references(root: dict[str, Any]) -> tuple[str, ...]:
    """The references that the image's entry claims; raises InputError where one is malformed."""
    claimed = _notes(root).get(REFERENCES, "")
    found = tuple(claimed.split()) if isinstance(claimed, str) else ()
    if len(found) > _REFERENCES_LIMIT:
        raise InputError(f"a bundle that names {len(found)} references; at most {_REFERENCES_LIMIT} are read")
    return tuple(str(parse_reference(each)) for each in found)


def _index(bundle: _Bundle) -> tuple[list[str], dict[str, Any]]:
    """The manifests that index.json lists, and the image's entry."""
    layout = parse_json(_small(bundle, "oci-layout", 4096), f"{bundle.what}: oci-layout", size_limit=4096)
    if not isinstance(layout, dict) or layout.get("imageLayoutVersion") != "1.0.0":
        raise InputError(f"{bundle.what} is not an OCI layout of version 1.0.0")
    data = _small(bundle, "index.json", MANIFEST_LIMIT)
    document = parse_json(data, f"{bundle.what}: index.json", size_limit=MANIFEST_LIMIT)
    entries = document.get("manifests") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(_is_entry(each) for each in entries):
        raise InputError(f"{bundle.what}: index.json has no list of manifests with digests")
    images = [each for each in entries if _notes(each).get(IS_IMAGE) == "true"]
    if len(images) != 1:
        raise InputError(f"{bundle.what}: index.json names {len(images)} images as the bundle's, expected one")
    return [each["digest"] for each in entries], images[0]


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict) and isinstance(entry.get("digest"), str) and bool(DIGEST_PATTERN.match(entry["digest"]))
    )


def _notes(entry: dict[str, Any]) -> dict[str, Any]:
    notes = entry.get("annotations")
    return notes if isinstance(notes, dict) else {}


def _add(bundle: _Bundle, digest: str) -> None:
    """Read a manifest, and expect its blobs with the sizes that it says."""
    data = _small(bundle, _member(digest), MANIFEST_LIMIT)
    if sha256_digest(data) != digest:
        raise InputError(f"{bundle.what} is damaged: manifest {digest} has digest {sha256_digest(data)}")
    manifest = read_manifest(data, digest)
    bundle.manifests[digest] = manifest
    if manifest.media_type in INDEX_TYPES:
        _expect_children(bundle, manifest)
        return
    for blob in manifest.blobs:
        stretch = bundle.members.get(_member(blob.digest))
        if stretch is None:
            raise InputError(f"{bundle.what} is not a whole bundle: it lacks {blob.digest} of {digest}")
        if stretch.size != blob.size:
            raise InputError(f"{bundle.what}: {blob.digest} has {stretch.size} bytes, {digest} says {blob.size}")
        bundle.blobs[blob.digest] = blob


def _expect_children(bundle: _Bundle, index: ReadManifest) -> None:
    """An index's images are in the bundle; that index.json lists them follows, since it names all that is there."""
    for child in index.children:
        if _member(child.digest) not in bundle.members:
            raise InputError(f"{bundle.what} is not a whole bundle: it lacks {child.digest} of {index.digest}")


def _judge(bundle: _Bundle, store: Store, check: Check) -> None:
    """Let `check` see the image's manifest, config and small referrers, and of an index the manifests of all that it
    names, in a store of their own."""
    with judging_store(store) as judged:
        for digest in _parts(bundle, bundle.image):
            part = bundle.manifests[digest]
            judged.put_manifest(part.data, part.media_type)
        for digest, manifest in bundle.manifests.items():
            is_image = digest == bundle.image
            if not is_image and manifest.subject != bundle.image:
                continue
            blobs = manifest.blobs[:1] if is_image else manifest.blobs
            if sum(blob.size for blob in blobs) <= REFERRER_LIMIT:
                for blob in blobs:
                    judged.add(bundle.read(blob.digest))
                judged.put_manifest(manifest.data, manifest.media_type, artifact_type=manifest.artifact_type or None)
        check(judged, bundle.image)


def _parts(bundle: _Bundle, index: str) -> set[str]:
    """The manifests that an index of the bundle names, those of indexes in it among them; none of an image. One that
    index.json does not list is missing here: who judges misses it too."""
    found: set[str] = set()
    waiting = [index]
    while waiting:
        named = {child.digest for child in bundle.manifests[waiting.pop()].children} - found
        named &= bundle.manifests.keys()
        found |= named
        waiting += named
    return found


def _expect_room(bundle: _Bundle, store: Store) -> None:
    needed = sum(blob.size for blob in bundle.blobs.values() if not store.has(blob.digest))
    free = shutil.disk_usage(store.root).free
    if needed > free:
        raise StorageError(
            f"{bundle.what} needs {needed:,} bytes in the store {store.root}, and {free:,} are free",
            hint="Nothing was written. Free some, or name a store on another disk: --store.",
        )


def _bring(bundle: _Bundle, blob: Descriptor, store: Store, on_event: OnEvent) -> int:
    """Copy a blob into the store, once its bytes are known to have its digest; how many are new there.

    One that the store has is read too: a bundle with a wrong byte in it is refused, whatever was here before.
    """
    if store.has(blob.digest):
        _expect_digest(bundle, blob, lambda piece: None)
        return 0
    try:
        with blob_writer(store, blob.digest) as target:
            _expect_digest(bundle, blob, target.write)
    except OSError as error:
        raise storage_error(error, store.place(blob.digest)) from error
    name = blob.title or blob.digest[7:19]
    on_event({"event": "pull", "name": name, "bytes": blob.size, "total": blob.size})
    return blob.size


def _expect_digest(bundle: _Bundle, blob: Descriptor, take: Callable[[bytes], object]) -> None:
    """Read a blob piece by piece; raises InputError at its end when its digest is another."""
    bundle.source.seek(bundle.members[_member(blob.digest)].offset)
    sha256, left = hashlib.sha256(), blob.size
    while left and (piece := bundle.source.read(min(_CHUNK, left))):
        sha256.update(piece)
        take(piece)
        left -= len(piece)
    if left or f"sha256:{sha256.hexdigest()}" != blob.digest:
        raise InputError(f"{bundle.what} is damaged: {blob.digest} has digest sha256:{sha256.hexdigest()}")
