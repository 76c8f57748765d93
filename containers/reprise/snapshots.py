"""`[data]` → snapshot in the store, and as a folder that an engine can mount."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from reprise.ingest.files import (
    code_artifact,
    generic_purl,
    listed_artifacts,
    place_artifact,
    place_source,
    take_code,
    take_local,
)
from reprise.ingest.read import read_data
from reprise.ingest.write import write_snapshot
from reprise.lock.model import Artifact
from reprise.store import Store
from reprise.store.layout import TITLE
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.config.data import (
    DataRules,
    ImagesSection,
    Loading,
    MadeData,
    OwnDataSection,
    StoreSection,
    TableSection,
    places,
)
from reprise_trainer.data.croissant import FILE_NAME as CROISSANT
from reprise_trainer.data.croissant import croissant_json
from reprise_trainer.data.snapshot import DOCUMENT, Source, decode_snapshot, open_snapshot
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError, NotFoundError, RepriseError

SNAPSHOT_TYPE = "application/vnd.reprise.snapshot.v2"

INGEST = 3
"""Number of the way from a section to a snapshot; a change of any byte that it makes, or of what it refuses, raises
it."""


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot: its digest, and a folder (`snapshot.json`, `shards/`) to mount read-only."""

    digest: str
    folder: Path


def data_artifacts(data: MadeData | StoreSection, store: Store, *, base: Path | None = None) -> list[Artifact]:
    """The files that a data section's snapshot is made from.

    Args:
        data: the section.
        store: takes in files that lie beside the configuration.
        base: the configuration's folder; None where there is none, as in an audit: the store has the files then.

    Raises:
        InputError: a local file's bytes are others than its sha256 says.
    """
    if isinstance(data, StoreSection):
        return _blobs(data.snapshot, store)
    found: list[Artifact] = []
    for place in places(data):
        if base is not None:
            take_local(place, base, store)
        found.append(place_artifact(place))
        if _has_folders(data):
            found += listed_artifacts(place, store)
    if isinstance(data, OwnDataSection):
        if base is not None:
            take_code(data.code, base, store)
        found.append(code_artifact(data.code))
    return found


def _has_folders(data: MadeData) -> bool:
    """Whether the places of a section are folders."""
    match data:
        case ImagesSection():
            return True
        case TableSection():
            return data.kind == "hugging-face"
        case OwnDataSection():
            return data.folders
        case _:
            return False


def _blobs(digest: str, store: Store) -> list[Artifact]:
    """A kept snapshot's document and shards; nothing where the store has no such document, which `prepare` says."""
    if not store.has(digest):
        return []
    shards = decode_snapshot(store.read(digest), where=digest).shards()
    named = [(DOCUMENT, digest.removeprefix("sha256:")), *((shard.path, shard.sha256) for shard in shards)]
    return [Artifact(generic_purl(path), sha256, "main") for path, sha256 in named]


def prepare_snapshot(data: MadeData | StoreSection, store: Store) -> StoredSnapshot:
    """The snapshot of a data section, made from its artifacts unless an earlier run did.

    Args:
        data: the section; what `data_artifacts` gives for it is in the store.

    Raises:
        InputError: the data are not what they should be, or break the section's rules; each with file and row.
        NotFoundError: an artifact is not in the store.
    """
    parent = store.cache / "snapshots"
    if not isinstance(data, DataRules):
        return stored_snapshot(data.snapshot, store)
    identity = json.dumps([INGEST, data.model_dump(mode="json", exclude=set(Loading.model_fields))], sort_keys=True)
    known = parent / f"{data.name}-{hashlib.sha256(identity.encode()).hexdigest()}"
    if known.exists():
        digest = known.read_text()
        folder = parent / digest.removeprefix("sha256:")
        if folder.is_dir():
            return StoredSnapshot(digest, folder)
    snapshot = make_snapshot(data, store, parent)
    keep_snapshot(snapshot, store)
    write_durably(known, snapshot.digest.encode())
    return snapshot


def make_snapshot(data: MadeData, store: Store, parent: Path) -> StoredSnapshot:
    """Make the snapshot afresh from the section's artifacts, as a folder of its own below `parent`.

    Raises:
        InputError, NotFoundError: see `prepare_snapshot`.
        StorageError: `parent` cannot be written.
    """
    reading = read_data(data, store)
    sources = [place_source(place) for place in places(data)]
    if isinstance(data, OwnDataSection):
        sources.append(Source(artifact=code_artifact(data.code).purl, sha256=data.code.sha256))
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix="new-") as aside:
            made = Path(aside) / "snapshot"
            digest = write_snapshot(made, reading, data, sources).digest
            folder = parent / digest.removeprefix("sha256:")
            if folder.exists() and not _is_whole(folder, digest):
                shutil.rmtree(folder)
            if not folder.exists():
                made.rename(folder)
    except OSError as error:
        raise storage_error(error, parent) from error
    return StoredSnapshot(digest, folder)


def stored_snapshot(digest: str, store: Store) -> StoredSnapshot:
    """A snapshot that the store holds, as a folder: its document's and its shards' blobs, linked.

    Raises:
        NotFoundError: the store does not hold it all.
        InputError: `digest` is not that of a snapshot.
    """
    folder = store.cache / "snapshots" / digest.removeprefix("sha256:")
    if folder.exists() and _is_whole(folder, digest):
        return StoredSnapshot(digest, folder)
    try:
        document = store.read(digest)
    except NotFoundError as error:
        raise NotFoundError(
            f"the store {store.root} has no snapshot {digest}", hint="`reprise pull` fetches one from a registry."
        ) from error
    snapshot = decode_snapshot(document, where=digest)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as aside:
            made = Path(aside) / "snapshot"
            (made / "shards").mkdir(parents=True)
            for shard in snapshot.shards():
                (made / shard.path).hardlink_to(store.path(f"sha256:{shard.sha256}"))
            write_durably(made / DOCUMENT, document)
            write_durably(made / CROISSANT, croissant_json(snapshot, digest))
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    except OSError as error:
        raise storage_error(error, folder) from error
    if not _is_whole(folder, digest):
        raise InputError(f"snapshot {digest}: a shard in the store {store.root} is damaged")
    return StoredSnapshot(digest, folder)


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        open_snapshot(folder, expected=digest)
    except RepriseError:
        return False
    return True


def keep_snapshot(snapshot: StoredSnapshot, store: Store) -> str:
    """Put a snapshot into the store as an OCI artifact: its document is the config, its shards are the layers.

    A last layer is the Croissant document, for those who look for data in a registry.

    The blobs share their bytes on disk with the folder (hard links), both read-only to everyone who follows the rules.

    Returns:
        The artifact's manifest digest.
    """
    document = (snapshot.folder / DOCUMENT).read_bytes()
    described = decode_snapshot(document)
    shards, croissant = described.shards(), croissant_json(described, snapshot.digest)
    for shard in shards:
        blob = store.root / "blobs" / "sha256" / shard.sha256
        if not blob.exists():
            blob.hardlink_to(snapshot.folder / shard.path)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": SNAPSHOT_TYPE,
        "config": {"mediaType": f"{SNAPSHOT_TYPE}+json", "digest": store.add(document), "size": len(document)},
        "layers": [
            {"mediaType": "application/octet-stream", "digest": f"sha256:{shard.sha256}", "size": shard.size}
            for shard in shards
        ]
        + [
            {
                "mediaType": "application/ld+json",
                "digest": store.add(croissant),
                "size": len(croissant),
                "annotations": {TITLE: CROISSANT},
            }
        ],
    }
    assert sha256_digest(document) == snapshot.digest
    return store.put_manifest(canonical_json(manifest), artifact_type=SNAPSHOT_TYPE)
