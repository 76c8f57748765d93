"""The locked packages of torch-cpu, read from the real artifacts, and a store that has the image."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from reprise.bom.contents import Package, read_packages, requested
from reprise.build import BuiltImage
from reprise.environments import LOCK_FILES, fetch_environment
from reprise.lock.environment import read_environment
from reprise.lock.model import Lock
from reprise.project import Project
from reprise.store import Store


@dataclass(frozen=True)
class Contents:
    """A lock, its packages, and the purls of those that the environment asks for."""

    lock: Lock
    packages: tuple[Package, ...]
    requested: tuple[str, ...]

    def named(self, name: str) -> Package:
        return next(each for each in self.packages if each.artifact.name == name)


@pytest.fixture(scope="session")
def torch_contents(project: Project, shared_store: Store) -> Contents:
    lock, _ = fetch_environment(project, "torch-cpu", shared_store)
    files = {name: (project.lock_folder("torch-cpu") / name).read_bytes() for name in LOCK_FILES}
    packages = read_packages(lock, files, shared_store)
    environment = read_environment(project.environment_file("torch-cpu"))
    return Contents(lock, tuple(packages), requested(environment, packages))


@pytest.fixture
def store(torch_cpu: BuiltImage, shared_store: Store, tmp_path: Path) -> Store:
    """A store of its own that shares the blobs' files with the tests' one: blobs never change."""
    shutil.copytree(
        shared_store.root, tmp_path / "store", copy_function=os.link, ignore=shutil.ignore_patterns("cache")
    )
    index = tmp_path / "store" / "index.json"
    data = index.read_bytes()
    index.unlink()
    index.write_bytes(data)
    return Store(tmp_path / "store")
