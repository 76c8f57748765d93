"""A named environment of a project, fetched and built: lock → artifacts → image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reprise.artifacts.fetch import Places, fetch
from reprise.artifacts.report import FetchReport
from reprise.build import BuiltImage, build_image, trainer_source
from reprise.events import OnEvent, ignore
from reprise.layers import missing_layers
from reprise.lock.environment import read_environment
from reprise.lock.inputs import expect_current_inputs
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN, Lock
from reprise.lock.read import read_lock
from reprise.project import Project
from reprise.store import Store
from reprise_trainer.durable import write_durably
from reprise_trainer.errors import InputError

ENVIRONMENT_FILE = "environment.toml"
LOCK_FILES = (CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN)


def load_lock(project: Project, name: str) -> Lock:
    """The lock of an environment, which must match its environment file and the files that this one names.

    Raises:
        NotFoundError: the environment is unknown, or not locked, or a file that it names is not there.
        InputError: the lock is malformed or stale.
    """
    folder, file = project.lock_folder(name), project.environment_file(name)
    lock = read_lock(folder, file)
    if lock.conda is not None:
        expect_current_inputs(folder, file)
    return lock


def fetch_environment(
    project: Project,
    name: str,
    store: Store,
    *,
    places: Places | None = None,
    workers: int | None = None,
    on_event: OnEvent = ignore,
) -> tuple[Lock, FetchReport]:
    """Fetch the artifacts of an environment that the store lacks; from `places` alone when they are given.

    Raises:
        UnavailableError: nobody has an artifact; the message says who was asked.
        InputError: the lock is wrong, or every source had other bytes than it says.
    """
    lock = load_lock(project, name)
    sources = read_environment(project.environment_file(name)).sources
    return lock, fetch(lock.artifacts, store, sources, places=places, workers=workers, on_event=on_event)


def build_environment(
    project: Project,
    name: str,
    store: Store,
    *,
    places: Places | None = None,
    workers: int | None = None,
    on_event: OnEvent = ignore,
) -> BuiltImage:
    """Build the training image of an environment, fetching what is missing; from `places` alone when they are given."""
    lock, _ = fetch_environment(project, name, store, places=places, workers=workers, on_event=on_event)
    folder = project.lock_folder(name)
    files = {file: (folder / file).read_bytes() for file in LOCK_FILES}
    files[ENVIRONMENT_FILE] = project.environment_file(name).read_bytes()
    return build_image(lock, files, trainer_source(), store, workers=workers, on_event=on_event)


def plan_build(project: Project, name: str, store: Store) -> dict[str, Any]:
    """What `build_environment` would do, without doing it: artifacts to fetch (purls) and layers to build (names)."""
    lock = load_lock(project, name)
    absent = [artifact.purl for artifact in lock.artifacts if not store.has(artifact.digest)]
    return {"fetch": absent, "build": missing_layers(lock, trainer_source(), store)}


def export_artifacts(lock: Lock, store: Store, folder: Path) -> list[Path]:
    """Put an environment's artifacts into `folder` under their own names, for `pip` and others to take from there.

    Raises:
        InputError: a file of that name is there with other bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for artifact in lock.artifacts:
        path = folder / artifact.file_name
        data = store.read(artifact.digest)
        if path.exists() and path.read_bytes() != data:
            raise InputError(f"{path} exists with other bytes than the lock says", hint="Name an empty folder.")
        if not path.exists():
            write_durably(path, data)
        paths.append(path)
    return paths
