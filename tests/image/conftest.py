"""The locked Python of `torch-cpu`, started on this machine, and layers built by it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reprise.artifacts.fetch import fetch
from reprise.image.bootstrap import ImagePython, image_python, starts_python
from reprise.image.build_layers import build_layers
from reprise.image.job import BuiltLayer, LayerJob
from reprise.lock.environment import read_environment
from reprise.lock.model import Artifact, Lock
from reprise.lock.read import read_lock
from reprise.store import Store

ROOT = Path(__file__).parents[2]

Locked = Callable[[Callable[[Artifact], bool]], list[tuple[Artifact, Path]]]
Build = Callable[..., dict[str, BuiltLayer]]


@pytest.fixture(scope="session")
def lock() -> Lock:
    return read_lock(ROOT / "locks" / "torch-cpu", ROOT / "containers" / "images" / "torch-cpu.toml")


@pytest.fixture(scope="session")
def locked(lock: Lock) -> Locked:
    """Gives those locked artifacts that a condition holds for, as files; fetches what the store lacks."""
    store = Store.open()
    sources = read_environment(ROOT / "containers" / "images" / "torch-cpu.toml").sources

    def chosen(condition: Callable[[Artifact], bool]) -> list[tuple[Artifact, Path]]:
        artifacts = [artifact for artifact in lock.artifacts if condition(artifact)]
        fetch(artifacts, store, sources)
        return [(artifact, store.path(artifact.digest)) for artifact in artifacts]

    return chosen


@pytest.fixture(scope="session")
def debs(locked: Locked) -> list[tuple[Artifact, Path]]:
    return locked(lambda artifact: artifact.kind == "deb")


@pytest.fixture(scope="session")
def python(
    debs: Sequence[tuple[Artifact, Path]], locked: Locked, tmp_path_factory: pytest.TempPathFactory
) -> ImagePython:
    (zstandard,) = locked(lambda artifact: artifact.name == "zstandard")
    files = [(artifact.sha256, path) for artifact, path in debs if starts_python(artifact.name)]
    return image_python(files, (zstandard[0].sha256, zstandard[1]), tmp_path_factory.mktemp("python"))


@pytest.fixture
def build(python: ImagePython, tmp_path: Path) -> Build:
    """Builds layers under the image's Python, into a new folder each time."""
    numbers = itertools.count()

    def build(*jobs: LayerJob, workers: int = 2, with_python: ImagePython = python) -> dict[str, BuiltLayer]:
        output = tmp_path / f"built-{next(numbers)}"
        output.mkdir()
        return {layer.name: layer for layer in build_layers(with_python, jobs, output=output, workers=workers)}

    return build
