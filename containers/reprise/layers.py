"""Artifacts → layers in the store: which layers an image needs, and building those that nobody has built yet."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from reprise.events import Event, OnEvent, ignore
from reprise.image.bootstrap import C_LIBRARY, CondaPython, ImagePython, image_python, starts_python
from reprise.image.build_layers import build_layers
from reprise.image.conda_scripts import PackageScript
from reprise.image.format import PythonLayout
from reprise.image.formats import FORMATS
from reprise.image.job import BuiltLayer, LayerJob, decode_scripts, encoded_scripts, layer_key
from reprise.lock.layout import image_layout
from reprise.lock.model import Artifact, Lock
from reprise.store import Store
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError, RepriseError
from reprise_trainer.identity.inventory import LayerRecord

MAX_LAYERS = 60
"""Overlay mounts and older engines stop at 127 layers; well below, an image stays mountable everywhere."""


@dataclass(frozen=True, slots=True)
class CompleteLayers:
    """An image's layers in the store, lowest first (base, those of the lock, the trainer).

    `scripts` are those of its conda packages, `built` is how many layers had to be built.
    """

    layers: tuple[LayerRecord, ...]
    scripts: tuple[PackageScript, ...]
    built: int


@dataclass(frozen=True, slots=True)
class _Cached:
    """What is kept of a layer under its key."""

    layer: LayerRecord
    scripts: tuple[PackageScript, ...]


def complete_layers(
    lock: Lock, source: bytes, store: Store, *, workers: int | None = None, on_event: OnEvent = ignore
) -> CompleteLayers:
    """Make the store hold every layer of the training image; where it does already, nothing is written.

    Args:
        lock: the lock; its artifacts must be in the store already.
        source: canonical archive of the trainer's source tree.
        workers: processes at work at once; one a core by default.
        on_event: told of each layer's progress.

    Raises:
        InputError: an artifact is malformed or rotted on disk, or the lock plans too many layers.
        NotFoundError: an artifact is not in the store.
        StorageError: the disk is full, or cannot be written.
    """
    python = _locked_python(lock, store)
    jobs = _layer_jobs(lock, sha256_digest(source), store)
    keys = _layer_keys(jobs, python, lock.format)
    missing = [key for key in keys if _cached_layer(store, key) is None]
    if missing:
        store.add(source)
        with _only_build(store, on_event):
            _build_missing(store, python, lock.format, jobs, keys, workers or len(os.sched_getaffinity(0)), on_event)
    cached = [_required_layer(store, key) for key in keys]
    for each in cached if not missing else ():
        on_event(_reused(each.layer))
    scripts = tuple(script for each in cached for script in each.scripts)
    return CompleteLayers(tuple(each.layer for each in cached), scripts, len(missing))


def _locked_python(lock: Lock, store: Store) -> ImagePython:
    """The image's Python with the lock's build tools; zstandard comes first, the others only make it faster."""
    tools = [each for each in lock.artifacts if each.category == "build"]
    zstandard = [each for each in tools if each.name == "zstandard"]
    if not zstandard:
        raise InputError(
            f"the lock of {lock.environment} has no zstandard wheel, which compresses layers",
            hint=f"Ask for {FORMATS[lock.format].wheel} under [pypi] build in the environment file, and lock it again.",
        )
    layout = image_layout(lock)
    conda = _conda_python(lock, layout, store) if layout.site_packages else None
    debs = [
        each
        for each in lock.artifacts
        if each.kind == "deb" and (each.name == C_LIBRARY if conda else starts_python(each.name))
    ]
    python = image_python(
        _sums(debs, store),
        _sums(zstandard, store)[0],
        store.cache / "python",
        _sums([each for each in tools if each not in zstandard], store),
        conda,
    )
    return replace(python, layout=layout)


def _conda_python(lock: Lock, layout: PythonLayout, store: Store) -> CondaPython:
    from reprise.image.conda_closure import python_closure

    packages = {each.name: each for each in lock.artifacts if each.kind == "conda" and each.category == "main"}
    closure = python_closure({name: (each.purl, store.path(each.digest)) for name, each in packages.items()})
    found = tuple((packages[n].purl, packages[n].sha256, store.path(packages[n].digest)) for n in closure)
    return CondaPython(layout, found)


def _sums(artifacts: Sequence[Artifact], store: Store) -> list[tuple[str, Path]]:
    return [(artifact.sha256, store.path(artifact.digest)) for artifact in artifacts]


def _layer_jobs(lock: Lock, source_digest: str, store: Store) -> list[LayerJob]:
    """Base, the planned layers, the trainer: lowest first."""
    if len(lock.layers) + 3 > MAX_LAYERS:
        raise InputError(
            f"the lock of {lock.environment} plans {len(lock.layers)} layers, at most {MAX_LAYERS - 3} fit"
        )
    by_purl = {artifact.purl: artifact for artifact in lock.artifacts}
    winners = lock.conda.allowed.clobbers if lock.conda else ()
    planned = []
    for layer in lock.layers:
        artifacts = [by_purl[purl] for purl in layer.artifacts]
        kind = artifacts[0].kind
        if kind == "data" or any(artifact.kind != kind for artifact in artifacts):
            raise InputError(f"layer {layer.name} of the lock of {lock.environment} mixes kinds of artifacts")
        planned.append(LayerJob(layer.name, kind, _files(artifacts, store), winners if kind == "conda" else ()))
    source = (("pkg:generic/reprise-trainer", store.root / "blobs" / "sha256" / source_digest.removeprefix("sha256:")),)
    return [LayerJob("base", "base", ()), *planned, LayerJob("trainer", "source", source)]


def _files(artifacts: Sequence[Artifact], store: Store) -> tuple[tuple[str, Path], ...]:
    return tuple((artifact.purl, store.path(artifact.digest)) for artifact in artifacts)


def _layer_keys(jobs: Sequence[LayerJob], python: ImagePython, format: int) -> list[str]:
    """The cache key of each job; a blob's name is its sha256, so nothing has to be read."""
    return [
        layer_key(
            job.name,
            job.kind,
            [(purl, path.name) for purl, path in job.artifacts],
            python.digest,
            format=format,
            layout=python.layout,
            winners=job.winners,
        )
        for job in jobs
    ]


def missing_layers(lock: Lock, source: bytes, store: Store) -> list[str]:
    """Names of the layers that a build would have to make; all of them while artifacts are missing."""
    if not all(store.has(artifact.digest) for artifact in lock.artifacts):
        return ["base", *(layer.name for layer in lock.layers), "trainer"]
    jobs = _layer_jobs(lock, sha256_digest(source), store)
    keys = _layer_keys(jobs, _locked_python(lock, store), lock.format)
    return [job.name for job, key in zip(jobs, keys, strict=True) if _cached_layer(store, key) is None]


def _cached_layer(store: Store, key: str) -> _Cached | None:
    """The layer that an earlier build made for `key`, if its blobs are still here."""
    try:
        document = json.loads((store.cache / "layers" / key).read_bytes())
        scripts = decode_scripts(document.pop("scripts", ()))
        record = LayerRecord(**document)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return _Cached(record, scripts) if store.has(record.digest) and store.has(record.list_digest) else None


def _required_layer(store: Store, key: str) -> _Cached:
    cached = _cached_layer(store, key)
    assert cached is not None, key
    return cached


def _build_missing(
    store: Store,
    python: ImagePython,
    format: int,
    jobs: Sequence[LayerJob],
    keys: Sequence[str],
    workers: int,
    on_event: OnEvent,
) -> None:
    """Build what no earlier build left, straight into the store, each layer as soon as it is done."""
    missing = [(job, key) for job, key in zip(jobs, keys, strict=True) if _cached_layer(store, key) is None]
    for key in keys:
        if (cached := _cached_layer(store, key)) is not None:
            on_event(_reused(cached.layer))
    key_of = {job.name: key for job, key in missing}
    with ThreadPoolExecutor(1) as background:
        checked = background.submit(_check_artifacts, store, [path for job, _ in missing for _, path in job.artifacts])

        def keep(layer: BuiltLayer) -> None:
            checked.result()  # no layer of an artifact that rotted on disk gets a name
            store.add_file(layer.blob_path, layer.digest)
            store.add_file(layer.list_path, layer.list_digest)
            record = LayerRecord(
                layer.name, layer.media_type, layer.digest, layer.size, layer.diff_id, layer.list_digest
            )
            document = {**asdict(record), **({"scripts": encoded_scripts(layer.scripts)} if layer.scripts else {})}
            write_durably(store.cache / "layers" / key_of[layer.name], canonical_json(document))

        try:
            with _workshop(store) as output:
                build_layers(
                    python,
                    [job for job, _ in missing],
                    output=output,
                    workers=workers,
                    format=format,
                    on_event=on_event,
                    on_built=keep,
                )
        except RepriseError:
            checked.result()  # an artifact that rotted is the better message
            raise


def _reused(layer: LayerRecord) -> Event:
    return {"event": "layer", "name": layer.name, "state": "reused", "bytes": layer.size, "total": layer.size}


@contextmanager
def _workshop(store: Store) -> Iterator[Path]:
    """A folder for unfinished layers, gone afterwards; those that killed builds left are removed first."""
    partial = store.root / "partial"
    try:
        (store.cache / "layers").mkdir(parents=True, exist_ok=True)
        for left in partial.glob("build-*"):  # we hold the lock, so nobody is in there
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="build-", dir=partial, ignore_cleanup_errors=True) as output:
            yield Path(output)
    except OSError as error:
        raise storage_error(error, partial) from error


def _check_artifacts(store: Store, paths: Sequence[Path]) -> None:
    """Hash once more what a layer's key takes for granted."""
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


def unpack_python(lock: Lock, store: Store) -> None:
    """Leave the image's Python unpacked in the store's cache, for builds that start from a copy of it.

    Raises:
        NotFoundError: a package that it needs is not in the store.
        InputError: a package is malformed.
    """
    _locked_python(lock, store)
