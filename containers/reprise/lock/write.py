"""Solve an environment and write its lock."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprise.events import OnEvent, ignore
from reprise.lock import debian, pypi
from reprise.lock.environment import read_environment
from reprise.lock.model import (
    CONDA_LOCK,
    CONDA_SPEC,
    DEBIAN_LOCK,
    FORMAT,
    LAYER_PLAN,
    Environment,
    Lock,
    PlannedLayer,
)
from reprise.lock.pip_client import remote_sizes
from reprise.lock.plan import plan_layers
from reprise.lock.read import read_lock
from reprise.lock.target import target_of
from reprise_trainer.errors import StorageError, SystemFailureError


def lock_environment(
    environment_path: Path,
    folder: Path,
    *,
    debian_mirror: str = "",
    on_event: OnEvent = ignore,
) -> Lock:
    """Solve the environment at `environment_path` and write its lock into `folder` (`locks/<name>/`).

    Args:
        environment_path: `containers/images/<name>.toml`.
        folder: made when it is not there; other files in it stay as they are.
        debian_mirror: a Debian archive's address, in place of the TOML's and of the machine's own.
        on_event: called with a "phase" event before each part.

    Raises:
        InputError: the environment is malformed, or can't be solved.
        UnavailableError: a mirror or an index does not answer.
        SystemFailureError: apt, pip or conda-lock is missing.
        StorageError: the folder can't be written.
    """
    environment = read_environment(environment_path)
    target = target_of(environment.python, environment.platform, environment.debian.suite)
    on_event({"event": "phase", "name": "solve the Debian part"})
    packages = debian.solve(environment.debian, debian_mirror or environment.sources.debian_mirror)
    on_event({"event": "phase", "name": "solve the Python part"})
    wheels = pypi.solve(environment.pypi.requirements, target, "main")
    build = pypi.solve(environment.pypi.build, target, "build") if environment.pypi.build else []
    on_event({"event": "phase", "name": "plan the layers"})
    sizes = {each.purl: each.size for each in packages.packages}
    by_url = remote_sizes(each.url for each in wheels)
    sizes |= {each.artifact.purl: by_url[each.url] for each in wheels}
    layers = plan_layers([*packages.packages, *(each.artifact for each in wheels)], sizes)
    files = {
        CONDA_SPEC: conda_spec(environment),
        CONDA_LOCK: conda_lock(environment, [*wheels, *build]),
        DEBIAN_LOCK: debian_lock(packages),
        LAYER_PLAN: layer_plan(layers),
    }
    _write(folder, files)
    return read_lock(folder, environment_path)


def conda_spec(environment: Environment) -> str:
    """`environment.yml`: the Python part as a conda specification, for people and for conda's own tools."""
    lines = [
        f"# Written by `reprise lock {environment.name}` from the environment's TOML, which is what to edit.",
        f"name: {environment.name}",
        "channels: []",
        "platforms:",
        f"  - {environment.platform}",
        "dependencies:",
        "  - pip:",
        *(f"      - {json.dumps(each)}" for each in environment.pypi.requirements),
    ]
    return "\n".join(lines) + "\n"


def conda_lock(environment: Environment, wheels: Sequence[pypi.LockedWheel]) -> str:
    """`conda-lock.yml`, made by conda-lock's own models and written as JSON text, which is YAML too.

    Raises:
        SystemFailureError: conda-lock is not installed.
    """
    try:
        from conda_lock.lockfile.v1.models import HashModel, LockedDependency, Lockfile, LockMeta
    except ImportError as error:
        raise SystemFailureError(
            "conda-lock is not installed", hint="Install it with: pip install 'reprise[lock]'"
        ) from error
    metadata = LockMeta(
        content_hash={environment.platform: environment.content_sha256},
        channels=[],
        platforms=[environment.platform],
        sources=[CONDA_SPEC],
        custom_metadata={"environment": environment.name, "python": environment.python},
    )
    packages = [
        LockedDependency(
            name=wheel.artifact.name,
            version=wheel.artifact.version,
            manager="pip",
            platform=environment.platform,
            dependencies=dict(wheel.dependencies),
            url=wheel.artifact.purl,
            hash=HashModel(sha256=wheel.artifact.sha256),
            category=wheel.artifact.category,
            optional=wheel.artifact.category != "main",
        )
        for wheel in sorted(wheels, key=lambda wheel: (wheel.artifact.name, wheel.artifact.category))
    ]
    return _text(Lockfile(metadata=metadata, package=packages).dict_for_output())


def debian_lock(solution: debian.DebianSolution) -> str:
    """`debian.lock.json`."""
    packages = [
        {"purl": each.purl, "sha256": each.sha256, "size": each.size, "path": each.location}
        for each in solution.packages
    ]
    return _text({"format": FORMAT, "suite": solution.suite, "created": solution.created, "packages": packages})


def layer_plan(layers: Sequence[PlannedLayer]) -> str:
    """`layers.json`, lowest layer first."""
    return _text({"format": FORMAT, "layers": [{"name": e.name, "artifacts": list(e.artifacts)} for e in layers]})


def _text(document: Mapping[str, Any]) -> str:
    """Sorted JSON on many lines: a changed package is a changed line, as people review it."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write all `files` aside first, then put each in its place, so that no reader sees half a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as aside:
            for name, text in files.items():
                with (Path(aside) / name).open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            for name in files:
                (Path(aside) / name).replace(folder / name)
    except OSError as error:
        raise StorageError(f"cannot write the lock into {folder}: {error}") from error
