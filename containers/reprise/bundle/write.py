"""Image and policy → bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.bundle.tar_file import BLOB_FOLDER, write_tar
from reprise.registry.graph import store_graph
from reprise.registry.manifest import ReadManifest, read_manifest
from reprise.store import Store
from reprise.store.index_entries import TAG
from reprise.store.layout import EMPTY_BLOB, EMPTY_TYPE, INDEX_TYPE, TITLE
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.durable import storage_error, sync_folder
from reprise_trainer.errors import NotFoundError
from reprise_trainer.identity.inventory import MANIFEST_TYPE

POLICY_TYPE = "application/vnd.reprise.policy.v1"
DATA_TYPE = "application/vnd.reprise.data.v1"
ROOT_TYPE = "application/vnd.reprise.trusted-root.v1"
POLICY_NAME = "policy.toml"
ROOT_NAME = "trusted_root.json"
IS_IMAGE = "reprise.bundle.image"
"""Annotation of the entry in index.json that is the bundle's image."""
REFERENCES = "reprise.bundle.references"
"""Annotation of that entry: where the image was pulled from, as the writer says, with a space between two."""

_LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was written: the image's digest, how many manifests and blobs it has, its size in bytes."""

    file: Path
    image: str
    manifests: int
    blobs: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """The bundle for `--json`."""
        return {
            "file": str(self.file),
            "image": self.image,
            "manifests": self.manifests,
            "blobs": self.blobs,
            "bytes": self.bytes,
        }


def write_bundle(
    store: Store,
    digest: str,
    file: Path,
    *,
    name: str = "",
    references: Sequence[str] = (),
    policy: bytes = b"",
    trusted_root: bytes = b"",
    data: Sequence[tuple[str, str]] = (),
) -> Bundle:
    """Write an image with all that refers to it, and what its host needs beside it, as one file.

    The same contents are the same bytes: no time, owner, place or order of this machine goes in.

    Args:
        digest: the image's manifest digest.
        name: what the image is called on the other side; empty for nothing but its digest.
        references: where the image was pulled from or pushed to, for whoever loads it to compare with.
        policy: bytes of a policy (TOML) to take along; empty for none. Whoever loads the bundle has to get the policy,
            or its keys' fingerprints, by another way to trust it.
        trusted_root: bytes of the file that the policy pins, to take along; empty for none.
        data: names and digests of the locked files that runs take their data from; the store has to hold them.

    Raises:
        NotFoundError: the store lacks a part.
        InputError: a part is damaged.
        StorageError: the file can't be written; there is no half of it.
    """
    graph = store_graph(store, digest)
    contents: dict[str, bytes | Path] = {each: manifest.data for each, manifest in graph.manifests.items()}
    contents |= {blob: store.check(blob) for blob in graph.blobs if blob not in contents}
    root = _root_notes(name, references)
    entries = [_entry(each, root if each.digest == digest else {}) for each in graph.manifests.values()]
    extras = (*_file(POLICY_TYPE, POLICY_NAME, policy), *_file(ROOT_TYPE, ROOT_NAME, trusted_root))
    for extra, files in (*extras, *_data(store, data)):
        contents |= {extra.digest: extra.data, **files}
        entries.append(_entry(extra, {}))
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": sorted(entries, key=lambda each: each["digest"])}
    members: list[tuple[str, bytes | Path]] = [("oci-layout", _LAYOUT), ("index.json", canonical_json(index))]
    members += [(f"{BLOB_FOLDER}/{each.removeprefix('sha256:')}", contents[each]) for each in sorted(contents)]
    _write_aside(file, members)
    return Bundle(file, digest, len(entries), len(contents) - len(entries), file.stat().st_size)


def _root_notes(name: str, references: Sequence[str]) -> dict[str, str]:
    named = {TAG: name} if name else {}
    return {**named, IS_IMAGE: "true", **({REFERENCES: " ".join(references)} if references else {})}


def _entry(manifest: ReadManifest, notes: dict[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.data)}
    if manifest.artifact_type:
        entry["artifactType"] = manifest.artifact_type
    return {**entry, "annotations": notes} if notes else entry


def _file(kind: str, name: str, content: bytes) -> list[tuple[ReadManifest, dict[str, bytes | Path]]]:
    return [_artifact(kind, name, sha256_digest(content), len(content), content)] if content else []


def _data(store: Store, files: Sequence[tuple[str, str]]) -> list[tuple[ReadManifest, dict[str, bytes | Path]]]:
    found = []
    for name, digest in files:
        if not store.has(digest):
            raise NotFoundError(
                f"the store {store.root} lacks the data {name} ({digest})",
                hint="Train once here, or `reprise fetch`, so that the store has them.",
            )
        path = store.check(digest)
        found.append(_artifact(DATA_TYPE, name, digest, path.stat().st_size, path))
    return found


def _artifact(
    kind: str, title: str, digest: str, size: int, content: bytes | Path
) -> tuple[ReadManifest, dict[str, bytes | Path]]:
    """An artifact of one file that refers to nothing, and its blobs."""
    empty = sha256_digest(EMPTY_BLOB)
    layer = {"mediaType": "application/octet-stream", "digest": digest, "size": size, "annotations": {TITLE: title}}
    data = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": kind,
            "config": {"mediaType": EMPTY_TYPE, "digest": empty, "size": len(EMPTY_BLOB)},
            "layers": [layer],
        }
    )
    return read_manifest(data, sha256_digest(data)), {empty: EMPTY_BLOB, digest: content}


def _write_aside(file: Path, members: Sequence[tuple[str, bytes | Path]]) -> None:
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            with aside.open("xb") as target:
                write_tar(target, members)
                target.flush()
                os.fsync(target.fileno())
            aside.rename(file)
            sync_folder(file.absolute().parent)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, file) from error
