"""Checkpoints in the store: a run's state as an OCI artifact that a registry carries and another run starts from.

Its layers are the checkpoint's own files, and beside them the record and the delegation of the run that made it: so one
digest names the weights and where they come from. It has no `subject`: weights would go along with every push of the
image.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.store import Store
from reprise.store.copies import copy_in, file_sha256
from reprise.store.layout import EMPTY_BLOB, EMPTY_TYPE, TITLE
from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.identity.inventory import MANIFEST_TYPE
from reprise_trainer.identity.launch import DELEGATION_FILE
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, DOCUMENT, TENSORS, checkpoint_folders
from reprise_trainer.training.checkpoints.signature import SIGNATURE
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE

CHECKPOINT_TYPE = "application/vnd.reprise.checkpoint.v1"

_FILES = (DOCUMENT, TENSORS, SIGNATURE)
_RUN_FILES = (RECORD_FILE, DELEGATION_FILE)
_MEDIA_TYPES = {
    DOCUMENT: "application/json",
    TENSORS: "application/octet-stream",
    SIGNATURE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    RECORD_FILE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    DELEGATION_FILE: "application/vnd.dev.sigstore.bundle.v0.3+json",
}


@dataclass(frozen=True, slots=True)
class FoundCheckpoint:
    """A checkpoint: its folder, its state digest, and the digest of the record of the run that made it (empty where
    that run has left none). That the tensors are those of the state is for the trainer to find out."""

    folder: Path
    state: str
    record: str


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint in the store: the digest of its artifact, its state digest, finished steps, and bytes in all."""

    digest: str
    state: str
    step: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """The checkpoint for `--json`."""
        return {"artifact": self.digest, "state": self.state, "step": self.step, "bytes": self.bytes}


def find_checkpoint(path: Path, *, where: str = "") -> FoundCheckpoint:
    """The checkpoint in a folder, or the newest one of the run in it.

    Args:
        path: the folder of a checkpoint or of a run.
        where: what names it, for messages.

    Raises:
        NotFoundError: there is none.
        InputError: it is not one.
    """
    folder = next(iter([] if (path / DOCUMENT).exists() else checkpoint_folders(path / CHECKPOINTS)), path)
    for name in (DOCUMENT, TENSORS):
        if not (folder / name).is_file():
            said = f"{where}: " if where else ""
            raise NotFoundError(f"{said}{folder} has no {name}: neither a checkpoint nor a run")
    record = folder.parent.parent / RECORD_FILE
    found = f"sha256:{file_sha256(record)}" if record.is_file() else ""
    return FoundCheckpoint(folder, str(_document(folder / DOCUMENT)["state"]), found)


def keep_checkpoint(path: Path, store: Store) -> KeptCheckpoint:
    """Put a checkpoint into the store, with the record of its run where there is one.

    Args:
        path: the folder of a checkpoint, or of a run for its newest.

    Raises:
        NotFoundError, InputError: see `find_checkpoint`; or a file changed while it was read.
        StorageError: the store can't be written.
    """
    found = find_checkpoint(path)
    run = found.folder.parent.parent
    files = {name: found.folder / name for name in _FILES} | {name: run / name for name in _RUN_FILES if found.record}
    try:
        layers = [_layer(name, file, store) for name, file in files.items() if file.is_file()]
    except OSError as error:
        raise storage_error(error, found.folder) from error
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": CHECKPOINT_TYPE,
        "config": {"mediaType": EMPTY_TYPE, "digest": store.add(EMPTY_BLOB), "size": len(EMPTY_BLOB)},
        "layers": layers,
        "annotations": {"reprise.state": found.state},
    }
    digest = store.put_manifest(canonical_json(manifest), artifact_type=CHECKPOINT_TYPE)
    step = int(_document(found.folder / DOCUMENT)["step"])
    return KeptCheckpoint(digest, found.state, step, sum(int(layer["size"]) for layer in layers))


def stored_checkpoint(digest: str, store: Store) -> FoundCheckpoint:
    """A checkpoint of the store as a folder of its own, every file compared with its digest.

    Args:
        digest: of the artifact.

    Raises:
        NotFoundError: the store does not hold it all.
        InputError: it is something else, or damaged.
        StorageError: the store's cache can't be written.
    """
    files = checkpoint_blobs(digest, store)
    folder = store.cache / "checkpoints" / digest.removeprefix("sha256:")
    try:
        for name in _FILES:
            if name in files:
                _place(folder / name, store.check(files[name]))
    except OSError as error:
        raise storage_error(error, folder) from error
    return FoundCheckpoint(folder, str(_document(folder / DOCUMENT)["state"]), files.get(RECORD_FILE, ""))


def checkpoint_blobs(digest: str, store: Store) -> dict[str, str]:
    """File name → digest of the files of a checkpoint's artifact; whether the store holds them is not asked.

    Raises:
        NotFoundError: the store does not hold the artifact.
        InputError: it is something else.
    """
    try:
        manifest = store.manifest(digest)
    except NotFoundError as error:
        raise NotFoundError(
            f"the store {store.root} has no checkpoint {digest}",
            hint="`reprise keep` puts one into a store, `reprise pull` fetches it from a registry.",
        ) from error
    if manifest.get("artifactType") != CHECKPOINT_TYPE:
        raise InputError(f"{digest} in the store {store.root} is no checkpoint: {manifest.get('artifactType')}")
    titled = {layer.get("annotations", {}).get(TITLE): str(layer["digest"]) for layer in manifest.get("layers", ())}
    if lacking := [name for name in (DOCUMENT, TENSORS) if name not in titled]:
        raise InputError(f"{digest} in the store {store.root} is no checkpoint: it has no {lacking[0]}")
    return {name: titled[name] for name in _MEDIA_TYPES if name in titled}


def _layer(name: str, path: Path, store: Store) -> dict[str, Any]:
    sha256 = file_sha256(path)
    copy_in(path, sha256, store)
    digest = f"sha256:{sha256}"
    notes = {TITLE: name}
    return {
        "mediaType": _MEDIA_TYPES[name],
        "digest": digest,
        "size": store.path(digest).stat().st_size,
        "annotations": notes,
    }


def _place(path: Path, blob: Path) -> None:
    """Link a blob under a name, unless it is there already."""
    if path.exists() and path.samefile(blob):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as aside:
        new = Path(aside) / path.name
        try:
            os.link(blob, new)
        except OSError:  # a file system without links
            shutil.copyfile(blob, new)
        new.rename(path)


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        if not (isinstance(document["state"], str) and isinstance(document["step"], int)):
            raise TypeError("it names no state and step")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a checkpoint's document: {error}") from error
    return document
