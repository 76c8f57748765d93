"""The jobs of derivations that layers come from; `derivation.py` says what each is."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from reprise.image.source import source_archive
from reprise.image.tar_writer import END
from reprise.layers import complete_layers, unpack_python
from reprise.lock.model import Lock
from reprise.lock.read import read_lock
from reprise.store import Store
from reprise_trainer.canonical import canonical_json

BLOB, FILE_LIST, RECORD = "layer", "list.json", "record.json"
"""The files of a layer's output. The record is what a store's cache keeps of the layer, and its key there."""


def make(job: dict[str, Any], out: Path) -> None:
    """Do a job of the kind `python`, `source` or `layer`."""
    match job["make"]:
        case "python":
            _make_python(job, out)
        case "source":
            _make_source(job, out)
        case "layer":
            _make_layer(job, out)


def link_layer(store: Store, layer: Path) -> None:
    """Give a store a layer's output, as if it had been built there."""
    kept = json.loads((layer / RECORD).read_bytes())
    for digest, file in ((kept["record"]["digest"], BLOB), (kept["record"]["list_digest"], FILE_LIST)):
        blob_path(store, digest).symlink_to(layer / file)
    (store.cache / "layers").mkdir(exist_ok=True)
    (store.cache / "layers" / kept["key"]).write_bytes(canonical_json(kept["record"]))


def scratch_store(folder: Path, artifacts: dict[str, str], python: str = "") -> Store:
    """A new store that has artifacts (files by sha256), and the image's Python, as links to where they lie."""
    store = Store.open(folder / "store")
    for sha256, path in artifacts.items():
        blob_path(store, sha256).symlink_to(path)
    if python:
        (store.cache / "python").symlink_to(python)
    return store


def blob_path(store: Store, digest: str) -> Path:
    """Where a store has the blob of that digest, or will have it."""
    return store.root / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _make_python(job: dict[str, Any], out: Path) -> None:
    out.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        store = scratch_store(Path(folder), job["artifacts"], python=str(out))
        unpack_python(_lock(job["lock"], Path(folder)), store)


def _make_source(job: dict[str, Any], out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, job["name"])  # the archive's paths begin with the folder's own name
        shutil.copytree(job["folder"], copy, symlinks=True)
        out.write_bytes(source_archive(copy))


def _make_layer(job: dict[str, Any], out: Path) -> None:
    """The part of a lock plans this layer, beside the base and the trainer, which take no time without sources."""
    source = Path(job["source"]).read_bytes() if job["source"] else END
    workers = int(os.environ.get("NIX_BUILD_CORES", "0")) or None
    with tempfile.TemporaryDirectory() as folder:
        store = scratch_store(Path(folder), job["artifacts"], job["python"])
        complete_layers(_lock(job["lock"], Path(folder)), source, store, workers=workers)
        records = {path.name: json.loads(path.read_bytes()) for path in (store.cache / "layers").iterdir()}
        ((key, record),) = ((key, record) for key, record in records.items() if record["name"] == job["name"])
        out.mkdir()
        shutil.move(store.path(record["digest"]), out / BLOB)
        shutil.move(store.path(record["list_digest"]), out / FILE_LIST)
        (out / RECORD).write_bytes(canonical_json({"key": key, "record": record}))


def _lock(documents: dict[str, Any], folder: Path) -> Lock:
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    return read_lock(folder)
