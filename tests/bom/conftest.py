"""The locked packages of torch-cpu, read from the real artifacts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from reprise.bom.contents import Package, read_packages, requested
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
