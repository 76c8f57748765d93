"""Lock → image: fetch what is missing, build the layers that nobody has built yet, assemble, keep.

The layers' bytes come from `reprise.image`, under the image's own Python; this module only decides what has to be done.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import reprise_trainer
from reprise.events import OnEvent, ignore
from reprise.image.bootstrap import ImagePython, image_python, starts_python
from reprise.image.build_layers import build_layers
from reprise.image.clobbers import find_clobbers
from reprise.image.job import BuiltLayer, LayerJob, layer_key
from reprise.image.source import source_archive
from reprise.lock.model import Artifact, Lock
from reprise.store import Store
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import decode_list
from reprise_trainer.identity.inventory import Inventory, LayerRecord, image_bytes

LOCK_TYPE = "application/vnd.reprise.lock.v1"
SOURCE_TYPE = "application/vnd.reprise.source.v1"
SOURCE_FILE = "source.tar"

LOCK_LABEL = "reprise.lock"
SOURCE_LABEL = "reprise.source"
ENVIRONMENT_LABEL = "reprise.environment"

MAX_LAYERS = 60
"""Overlay mounts and older engines stop at 127 layers; well below, an image stays mountable everywhere."""

_ENVIRONMENT_VARIABLES = (
    "PATH=/usr/local/bin:/usr/bin",
    "LANG=C.UTF-8",
    "PYTHONHASHSEED=0",
    "PYTHONDONTWRITEBYTECODE=1",
)
_ENTRYPOINT = ("/usr/bin/python{python}", "-I", "-m", "reprise_trainer")


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A training image in the store: its digest, that of its environment image, its layers (lowest first, without the
    inventory), how many of them had to be built, and the seconds that it took."""

    digest: str
    environment_digest: str
    layers: tuple[LayerRecord, ...]
    built: int
    seconds: float


def trainer_source() -> bytes:
    """The trainer that this `reprise` was installed with, as a canonical archive."""
    return source_archive(Path(reprise_trainer.__file__).parent)


def build_image(
    lock: Lock,
    lock_files: dict[str, bytes],
    source: bytes,
    store: Store,
    *,
    tag: str | None = None,
    workers: int | None = None,
    on_event: OnEvent = ignore,
) -> BuiltImage:
    """Build the environment image of `lock` and, on top of it, the training image with the trainer in `source`.

    A build that has been done before is only looked up: nothing is written.

    Args:
        lock: the lock; its artifacts must be in the store already.
        lock_files: the files that `lock` was read from, by name; kept with the image for later audits.
        source: canonical archive of the trainer's source tree.
        store: where artifacts are and where the image goes.
        tag: name of the training image in the store; its environment by default.
        workers: processes at work at once; one a core by default.
        on_event: told of each layer's progress.

    Returns:
        The image, as it is in the store.

    Raises:
        InputError: an artifact is malformed, or two of them own one path.
        NotFoundError: an artifact is not in the store.
        StorageError: the disk is full, or cannot be written.
    """
    started = time.monotonic()
    workers = workers or len(os.sched_getaffinity(0))
    python = _image_python(lock, store)
    jobs = _layer_jobs(lock, sha256_digest(source), store)
    keys = _layer_keys(jobs, python)
    missing = [key for key in keys if _cached_layer(store, key) is None]
    if missing:
        store.add(source)
        with _only_build(store, on_event):
            _build_missing(store, python, jobs, keys, workers, on_event)
    layers = tuple(_required_layer(store, key) for key in keys)
    for layer in layers if not missing else ():
        on_event({"event": "layer", "name": layer.name, "state": "reused", "bytes": layer.size, "total": layer.size})
    image, environment = _assemble(lock, source, layers)
    _refuse_clobbers(store, layers, image)
    environment_digest = _keep(store, environment, tag=None)
    digest = _keep(store, image, tag=tag or lock.environment)
    _attach_once(store, digest, LOCK_TYPE, [(name, "application/json", data) for name, data in lock_files.items()])
    _attach_once(store, digest, SOURCE_TYPE, [(SOURCE_FILE, "application/x-tar", source)])
    return BuiltImage(digest, environment_digest, layers, len(missing), time.monotonic() - started)


def _image_python(lock: Lock, store: Store) -> ImagePython:
    debs = [each for each in lock.artifacts if each.kind == "deb" and starts_python(each.name)]
    (zstandard,) = [artifact for artifact in lock.artifacts if artifact.name == "zstandard"]
    return image_python(
        [(artifact.sha256, store.path(artifact.digest)) for artifact in debs],
        (zstandard.sha256, store.path(zstandard.digest)),
        store.cache / "python",
    )


def _layer_jobs(lock: Lock, source_digest: str, store: Store) -> list[LayerJob]:
    """Base, the planned layers, the trainer: lowest first."""
    if len(lock.layers) + 3 > MAX_LAYERS:
        raise InputError(
            f"the lock of {lock.environment} plans {len(lock.layers)} layers, at most {MAX_LAYERS - 3} fit"
        )
    by_purl = {artifact.purl: artifact for artifact in lock.artifacts}
    planned = []
    for layer in lock.layers:
        artifacts = [by_purl[purl] for purl in layer.artifacts]
        kind = artifacts[0].kind
        if kind == "data" or any(artifact.kind != kind for artifact in artifacts):
            raise InputError(f"layer {layer.name} of the lock of {lock.environment} mixes kinds of artifacts")
        planned.append(LayerJob(layer.name, kind, _files(artifacts, store)))
    source = (("pkg:generic/reprise-trainer", store.root / "blobs" / "sha256" / source_digest.removeprefix("sha256:")),)
    return [LayerJob("base", "base", ()), *planned, LayerJob("trainer", "source", source)]


def _files(artifacts: Sequence[Artifact], store: Store) -> tuple[tuple[str, Path], ...]:
    return tuple((artifact.purl, store.path(artifact.digest)) for artifact in artifacts)


def _layer_keys(jobs: Sequence[LayerJob], python: ImagePython) -> list[str]:
    """The cache key of each job; a blob's name is its sha256, so nothing has to be read."""
    return [
        layer_key(job.name, job.kind, [(purl, path.name) for purl, path in job.artifacts], python.digest)
        for job in jobs
    ]


def missing_layers(lock: Lock, source: bytes, store: Store) -> list[str]:
    """Names of the layers that a build would have to make; all of them while artifacts are missing."""
    if not all(store.has(artifact.digest) for artifact in lock.artifacts):
        return ["base", *(layer.name for layer in lock.layers), "trainer"]
    jobs = _layer_jobs(lock, sha256_digest(source), store)
    keys = _layer_keys(jobs, _image_python(lock, store))
    return [job.name for job, key in zip(jobs, keys, strict=True) if _cached_layer(store, key) is None]


def _cached_layer(store: Store, key: str) -> LayerRecord | None:
    """The layer that an earlier build made for `key`, if its blobs are still here."""
    try:
        record = LayerRecord(**json.loads((store.cache / "layers" / key).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return record if store.has(record.digest) and store.has(record.list_digest) else None


def _required_layer(store: Store, key: str) -> LayerRecord:
    record = _cached_layer(store, key)
    assert record is not None, key
    return record


def _build_missing(
    store: Store, python: ImagePython, jobs: Sequence[LayerJob], keys: Sequence[str], workers: int, on_event: OnEvent
) -> None:
    """Build what no earlier build left, straight into the store, each layer as soon as it is done."""
    missing = [(job, key) for job, key in zip(jobs, keys, strict=True) if _cached_layer(store, key) is None]
    for job, key in zip(jobs, keys, strict=True):
        if (record := _cached_layer(store, key)) is not None:
            on_event(
                {"event": "layer", "name": job.name, "state": "reused", "bytes": record.size, "total": record.size}
            )
    _check_artifacts(store, [path for job, _ in missing for _, path in job.artifacts])
    key_of = {job.name: key for job, key in missing}

    def keep(layer: BuiltLayer) -> None:
        store.add_file(layer.blob_path, layer.digest)
        store.add_file(layer.list_path, layer.list_digest)
        record = LayerRecord(layer.name, layer.media_type, layer.digest, layer.size, layer.diff_id, layer.list_digest)
        write_durably(store.cache / "layers" / key_of[layer.name], canonical_json(asdict(record)))

    partial = store.root / "partial"
    try:
        (store.cache / "layers").mkdir(parents=True, exist_ok=True)
        for left in partial.glob("build-*"):  # by a killed build: we hold the lock, so nobody needs it
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=partial, ignore_cleanup_errors=True) as output:
            build_layers(
                python,
                [job for job, _ in missing],
                output=Path(output),
                workers=workers,
                on_event=on_event,
                on_built=keep,
            )
    except OSError as error:
        raise storage_error(error, partial) from error


def _check_artifacts(store: Store, paths: Sequence[Path]) -> None:
    """Hash once more what a layer's key takes for granted: a blob that rotted on disk must not become a layer."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda path: store.check(f"sha256:{path.name}"), paths))


@contextmanager
def _only_build(store: Store, on_event: OnEvent) -> Iterator[None]:
    """One build at a time in a store: the second waits, and then finds the first one's layers."""
    with (store.cache / "build.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_event({"event": "phase", "name": "wait for another build in this store"})
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _assemble(lock: Lock, source: bytes, layers: tuple[LayerRecord, ...]) -> tuple[Inventory, Inventory]:
    """Inventories of the training image and of the environment image."""
    environment = Inventory(layers[:-1], _config(lock, {LOCK_LABEL: lock.digest}))
    labels = {
        LOCK_LABEL: lock.digest,
        SOURCE_LABEL: sha256_digest(source),
        ENVIRONMENT_LABEL: image_bytes(environment).digest,
    }
    return Inventory(layers, _config(lock, labels)), environment


def _config(lock: Lock, labels: dict[str, str]) -> dict[str, Any]:
    """The OCI image config (image spec v1.1, config.md) without `rootfs`; its only time is the lock's."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": datetime.fromtimestamp(lock.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": {
            "User": "0:0",
            "WorkingDir": "/",
            "Env": list(_ENVIRONMENT_VARIABLES),
            "Entrypoint": [part.format(python=lock.python) for part in _ENTRYPOINT],
            "Labels": labels,
        },
    }


def _keep(store: Store, inventory: Inventory, *, tag: str | None) -> str:
    """Put the image that follows from `inventory` into the store."""
    image = image_bytes(inventory)
    store.add(image.inventory_layer)
    store.add(image.config)
    return store.put_manifest(image.manifest, tag=tag)


def _refuse_clobbers(store: Store, layers: Sequence[LayerRecord], inventory: Inventory) -> None:
    """Two layers that own one path with different content would make the image depend on their order."""
    if store.has(image_bytes(inventory).digest):
        return  # checked when it was put there
    clobbers = find_clobbers([decode_list(store.read(layer.list_digest)) for layer in layers])
    if clobbers:
        shown = "\n".join(f"  /{path}: {first} and {second}" for path, first, second in clobbers[:20])
        raise InputError(
            f"{len(clobbers)} paths are owned by two layers with different content:\n{shown}",
            hint="Remove one of the two packages from the environment, and lock it again.",
        )


def _attach_once(store: Store, subject: str, artifact_type: str, files: list[tuple[str, str, bytes]]) -> None:
    titles = {title: sha256_digest(data) for title, _, data in files}
    for manifest in store.referrers(subject, artifact_type):
        if {title: sha256_digest(data) for title, data in store.files(manifest["digest"]).items()} == titles:
            return
    store.attach(subject, artifact_type, files)
