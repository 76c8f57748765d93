"""The locked Python of `torch-cpu`, started on this machine, and layers built by it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from reprise.artifacts.fetch import fetch
from reprise.image.bootstrap import ImagePython, image_python, starts_python
from reprise.image.build_layers import build_layers
from reprise.image.formats import DEFAULT_FORMAT
from reprise.image.job import BuiltLayer, LayerJob
from reprise.lock.environment import read_environment
from reprise.lock.model import Artifact, Lock
from reprise.lock.read import read_lock
from reprise.store import Store

ROOT = Path(__file__).parents[2]
ENVIRONMENT_FILE = ROOT / "containers" / "images" / "torch-cpu.toml"
ZSTANDARD_OF_FORMAT_2 = Artifact(
    "pkg:pypi/zstandard@0.23.0?file_name=zstandard-0.23.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "fd30d9c67d13d891f2360b2a120186729c111238ac63b43dbd37a5a40670b8ca",
    "build",
)

Locked = Callable[[Callable[[Artifact], bool]], list[tuple[Artifact, Path]]]
Build = Callable[..., dict[str, BuiltLayer]]


@pytest.fixture(scope="session")
def lock() -> Lock:
    return read_lock(ROOT / "locks" / "torch-cpu", ENVIRONMENT_FILE)


@pytest.fixture(scope="session")
def locked(lock: Lock) -> Locked:
    """Gives those locked artifacts that a condition holds for, as files; fetches what the store lacks."""
    store = Store.open()
    sources = read_environment(ENVIRONMENT_FILE).sources

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
    (isal,) = locked(lambda artifact: artifact.name == "isal")
    files = [(artifact.sha256, path) for artifact, path in debs if starts_python(artifact.name)]
    wheels = [(artifact.sha256, path) for artifact, path in (zstandard, isal)]
    return image_python(files, wheels[0], tmp_path_factory.mktemp("python"), wheels[1:])


@pytest.fixture(scope="session")
def pythons(python: ImagePython, debs: Sequence[tuple[Artifact, Path]]) -> dict[int, ImagePython]:
    """The image's Python with the compressor of each image format."""
    store = Store.open()
    fetch([ZSTANDARD_OF_FORMAT_2], store, read_environment(ENVIRONMENT_FILE).sources)
    wheel = (ZSTANDARD_OF_FORMAT_2.sha256, store.path(ZSTANDARD_OF_FORMAT_2.digest))
    files = [(artifact.sha256, path) for artifact, path in debs if starts_python(artifact.name)]
    return {1: python, 2: image_python(files, wheel, python.packages.parents[1])}


@pytest.fixture
def build(python: ImagePython, tmp_path: Path) -> Build:
    """Builds layers under the image's Python, into a new folder each time."""
    numbers = itertools.count()

    def build(
        *jobs: LayerJob, workers: int = 2, with_python: ImagePython = python, format: int = DEFAULT_FORMAT
    ) -> dict[str, BuiltLayer]:
        output = tmp_path / f"built-{next(numbers)}"
        output.mkdir()
        built = build_layers(with_python, jobs, output=output, workers=workers, format=format)
        return {layer.name: layer for layer in built}

    return build
