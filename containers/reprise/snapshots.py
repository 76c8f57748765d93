"""Data artifact → snapshot in the store, and as a folder that an engine can mount."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reprise.image.deb import read_deb
from reprise.lock.model import Artifact
from reprise.store import Store
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.data.ingest import ingest_fashion_mnist
from reprise_trainer.data.snapshot import DOCUMENT, decode_snapshot, open_snapshot
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError, RepriseError

SNAPSHOT_TYPE = "application/vnd.reprise.snapshot.v1"

_INGESTS: Mapping[str, Callable[..., str]] = {"fashion-mnist": ingest_fashion_mnist}
"""Data set → what turns its files into a snapshot."""


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot: its digest, and a folder (`snapshot.json`, `shards/`) to mount read-only."""

    digest: str
    folder: Path


def prepare_snapshot(name: str, artifact: Artifact, store: Store) -> StoredSnapshot:
    """The snapshot of data set `name`, made from `artifact` unless an earlier run did.

    Args:
        name: the data set, as in the configuration's `data.name`.
        artifact: the locked file that holds it, already in the store.

    Raises:
        InputError: the data set is unknown, or the artifact is not what it should be.
        NotFoundError: the artifact is not in the store.
    """
    known = store.cache / "snapshots" / f"{name}-{artifact.sha256}"
    if known.exists():
        digest = known.read_text()
        folder = store.cache / "snapshots" / digest.removeprefix("sha256:")
        if folder.is_dir():
            return StoredSnapshot(digest, folder)
    snapshot = make_snapshot(name, artifact, store.path(artifact.digest), store.cache / "snapshots")
    keep_snapshot(snapshot, store)
    write_durably(known, snapshot.digest.encode())
    return snapshot


def make_snapshot(name: str, artifact: Artifact, file: Path, parent: Path) -> StoredSnapshot:
    """Make the snapshot afresh from the artifact's `file`, as a folder of its own below `parent`.

    Raises:
        InputError: the data set is unknown, or the artifact is not what it should be.
        StorageError: `parent` cannot be written.
    """
    if name not in _INGESTS:
        raise InputError(f"unknown data set {name!r}; there are: {', '.join(sorted(_INGESTS))}")
    files = {entry.path.rpartition("/")[2]: entry.read() for entry in read_deb(file, artifact.purl)}
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix="new-") as aside:
            made = Path(aside) / "snapshot"
            digest = _INGESTS[name](files, made, artifact=artifact.purl, sha256=artifact.sha256)
            folder = parent / digest.removeprefix("sha256:")
            if folder.exists() and not _is_whole(folder, digest):
                shutil.rmtree(folder)
            if not folder.exists():
                made.rename(folder)
    except OSError as error:
        raise storage_error(error, parent) from error
    return StoredSnapshot(digest, folder)


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        open_snapshot(folder, expected=digest)
    except RepriseError:
        return False
    return True


def keep_snapshot(snapshot: StoredSnapshot, store: Store) -> str:
    """Put a snapshot into the store as an OCI artifact: its document is the config, its shards are the layers.

    The blobs share their bytes on disk with the folder (hard links), both read-only to everyone who follows the rules.

    Returns:
        The artifact's manifest digest.
    """
    document = (snapshot.folder / DOCUMENT).read_bytes()
    shards = [shard for _, split in sorted(decode_snapshot(document).splits.items()) for shard in split.shards]
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
        ],
    }
    assert sha256_digest(document) == snapshot.digest
    return store.put_manifest(canonical_json(manifest), artifact_type=SNAPSHOT_TYPE)
