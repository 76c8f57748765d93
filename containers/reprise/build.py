"""Layers → image: complete the layers of a lock, assemble them, refuse clobbers, keep what came out.

The layers' bytes come from `reprise.image`, under the image's own Python; this module only decides what has to be done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import reprise_trainer
from reprise.events import OnEvent, ignore
from reprise.image.clobbers import find_clobbers
from reprise.image.conda_scripts import SYSTEM_PATH, PackageScript, activated, before_activation
from reprise.image.source import source_archive
from reprise.layers import CompleteLayers, complete_layers
from reprise.lock.layout import image_layout
from reprise.lock.model import Lock
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import decode_list
from reprise_trainer.identity.inventory import Inventory, LayerRecord, image_bytes

LOCK_TYPE = "application/vnd.reprise.lock.v1"
SOURCE_TYPE = "application/vnd.reprise.source.v1"
SOURCE_FILE = "source.tar"

LOCK_LABEL = "reprise.lock"
SOURCE_LABEL = "reprise.source"
ENVIRONMENT_LABEL = "reprise.environment"
FORMAT_LABEL = "reprise.format"
"""Number of the image format; format 1 is older than the label, and has none."""

_ENVIRONMENT_VARIABLES = (
    "LANG=C.UTF-8",
    "PYTHONHASHSEED=0",
    "PYTHONDONTWRITEBYTECODE=1",
)
_MODULE = ("-I", "-m", "reprise_trainer")


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
    complete = complete_layers(lock, source, store, workers=workers, on_event=on_event)
    image, environment = _assemble(lock, source, complete)
    _refuse_clobbers(store, complete.layers, image)
    environment_digest = _keep(store, environment, tag=None)
    digest = _keep(store, image, tag=tag or lock.environment)
    _attach_once(store, digest, LOCK_TYPE, [(name, "application/json", data) for name, data in lock_files.items()])
    _attach_once(store, digest, SOURCE_TYPE, [(SOURCE_FILE, "application/x-tar", source)])
    return BuiltImage(digest, environment_digest, complete.layers, complete.built, time.monotonic() - started)


def _assemble(lock: Lock, source: bytes, complete: CompleteLayers) -> tuple[Inventory, Inventory]:
    """Inventories of the training image and of the environment image."""
    common = {LOCK_LABEL: lock.digest, **({FORMAT_LABEL: str(lock.format)} if lock.format > 1 else {})}
    layers, variables = complete.layers, _variables(lock, complete.scripts)
    environment = Inventory(layers[:-1], _config(lock, variables, common))
    labels = {
        **common,
        SOURCE_LABEL: sha256_digest(source),
        ENVIRONMENT_LABEL: image_bytes(environment).digest,
    }
    return Inventory(layers, _config(lock, variables, labels)), environment


def _variables(lock: Lock, scripts: Sequence[PackageScript]) -> tuple[str, ...]:
    """The image's environment: as without a conda part, or as it is after activating its conda environment.

    Raises:
        InputError: a conda package's script does more than set variables, and the lock does not allow that.
    """
    if lock.conda is None:
        return (f"PATH={SYSTEM_PATH}", *_ENVIRONMENT_VARIABLES)
    after = activated(scripts, before_activation(lock.conda.prefix), lock.conda.allowed.post_link)
    own = {each.partition("=")[0] for each in _ENVIRONMENT_VARIABLES}
    more = [f"{name}={after[name]}" for name in sorted(after.keys() - own - {"PATH"})]
    return (f"PATH={after['PATH']}", *_ENVIRONMENT_VARIABLES, *more)


def _config(lock: Lock, variables: Sequence[str], labels: dict[str, str]) -> dict[str, Any]:
    """The OCI image config (image spec v1.1, config.md) without `rootfs`; its only time is the lock's."""
    return {
        "architecture": "amd64",
        "os": "linux",
        "created": datetime.fromtimestamp(lock.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": {
            "User": "0:0",
            "WorkingDir": "/",
            "Env": list(variables),
            "Entrypoint": [image_layout(lock).interpreter, *_MODULE],
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
            hint="`reprise lock --check` names the packages. Remove one of the two from the environment, or say in its "
            "conda.allow.clobbers which of two conda packages wins, and lock it again.",
        )


def _attach_once(store: Store, subject: str, artifact_type: str, files: list[tuple[str, str, bytes]]) -> None:
    titles = {title: sha256_digest(data) for title, _, data in files}
    for manifest in store.referrers(subject, artifact_type):
        if {title: sha256_digest(data) for title, data in store.files(manifest["digest"]).items()} == titles:
            return
    store.attach(subject, artifact_type, files)
