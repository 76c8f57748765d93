"""An image's archive: everything that a rebuild needs when every index, mirror and host is gone, as one OCI artifact.

Its layers are the files themselves, each under its own digest: locked artifacts (those of the builder alone, too), the
lock and the environment file, the trainer's source, and the host side as wheels. So an archive costs the store its
manifest and the wheels; the artifacts are the very blobs that the store has. It refers to the image (`subject`), so
that `reprise push` takes it along. docs/registries.md says what is in it and why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reprise.build import SOURCE_FILE
from reprise.host_wheels import host_wheels
from reprise.lock.model import Lock
from reprise.store import Store
from reprise.store.layout import EMPTY_BLOB, EMPTY_TYPE, TITLE
from reprise.stored_image import read_image_lock, read_image_source, read_inventory
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import NotFoundError
from reprise_trainer.identity.inventory import MANIFEST_TYPE

ARCHIVE_TYPE = "application/vnd.reprise.archive.v1"
PURL = "reprise.purl"
HOST_PYTHON = "reprise.host-python"
LOCK_FOLDER, SOURCE_FOLDER, ARTIFACT_FOLDER, HOST_FOLDER = "lock", "source", "artifacts", "host"

_FILE_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive in the store: its manifest's digest, the image's, how many files it has and their bytes in all."""

    digest: str
    image: str
    files: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """The archive for `--json`."""
        return {"archive": self.digest, "image": self.image, "files": self.files, "bytes": self.bytes}


def archive_image(store: Store, digest: str) -> Archive:
    """Put the archive of an image into the store; a second time with the same `reprise`, nothing is written.

    Args:
        store: holds the image, its lock and source, and the locked artifacts.
        digest: the image's manifest digest.

    Raises:
        NotFoundError: the store lacks the image, its lock, its source or an artifact.
        InputError: the image was not built by `reprise`, or an artifact is damaged.
    """
    inventory = read_inventory(store, digest)
    lock, _, lock_files = read_image_lock(store, digest, inventory)
    source = read_image_source(store, digest, inventory)
    layers = [
        *(_kept(store, f"{LOCK_FOLDER}/{name}", data) for name, data in sorted(lock_files.items())),
        _kept(store, f"{SOURCE_FOLDER}/{SOURCE_FILE}", source),
        *_artifacts(store, lock),
        *(_kept(store, f"{HOST_FOLDER}/{name}", data) for name, data in host_wheels()),
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARCHIVE_TYPE,
        "config": {"mediaType": EMPTY_TYPE, "digest": store.add(EMPTY_BLOB), "size": len(EMPTY_BLOB)},
        "layers": layers,
        "subject": {"mediaType": MANIFEST_TYPE, "digest": digest, "size": store.path(digest).stat().st_size},
        "annotations": {HOST_PYTHON: f"{sys.version_info.major}.{sys.version_info.minor}"},
    }
    data = canonical_json(manifest)
    if not (store.has(sha256_digest(data)) and sha256_digest(data) in store.listed()):
        store.put_manifest(data, artifact_type=ARCHIVE_TYPE)
    return Archive(sha256_digest(data), digest, len(layers), sum(layer["size"] for layer in layers))


def _artifacts(store: Store, lock: Lock) -> Iterator[dict[str, Any]]:
    for artifact in sorted(lock.artifacts, key=lambda each: each.purl):
        if not store.has(artifact.digest):
            raise NotFoundError(
                f"the store {store.root} lacks {artifact.purl} ({artifact.digest}), which the archive has to hold",
                hint=f"Fetch it: reprise fetch {lock.environment}",
            )
        path = store.check(artifact.digest)  # an archive of rotten files would be found out in ten years
        name = artifact.file_name or path.name
        yield _layer(f"{ARTIFACT_FOLDER}/{name}", artifact.digest, path.stat().st_size, artifact.purl)


def _kept(store: Store, title: str, data: bytes) -> dict[str, Any]:
    return _layer(title, store.add(data), len(data))


def _layer(title: str, digest: str, size: int, purl: str = "") -> dict[str, Any]:
    notes = {TITLE: title, **({PURL: purl} if purl else {})}
    return {"mediaType": _FILE_TYPE, "digest": digest, "size": size, "annotations": notes}
