"""A small image that runs, folders for a run, and a real Docker daemon of the tests' own."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from launch_folders import signed_folders
from servers import dockerd, on_another_network
from small_image import SmallImage, base_entries, make_image, python_entries, trainer_entries

from reprise.engine.choose import choose_engine
from reprise.engine.interface import ImageRef, RunFolders
from reprise.store import Store
from reprise_trainer.identity.launch import CONFIG_FILE


@dataclass
class Outcome:
    """How a run ended, and what it said."""

    code: int = -1
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Bench:
    """An image with the folders of a run; the image runs the Python program that it finds in the launch folder."""

    image: SmallImage
    folders: RunFolders

    @property
    def ref(self) -> ImageRef:
        return ImageRef(self.image.store, self.image.digest)

    def program(self, text: str) -> None:
        (self.folders.launch / CONFIG_FILE).write_text(text)

    def run(self, engine: str, program: str, *, network: bool = False) -> Outcome:
        self.program(program)
        outcome = Outcome()
        outcome.code = choose_engine(engine, network=network).run(
            self.ref, self.folders, on_line=outcome.lines.append, on_error_line=outcome.errors.append
        )
        return outcome


@pytest.fixture(scope="session")
def small_image() -> Iterator[SmallImage]:
    """In a folder that every user can read, for the test that runs it without root."""
    folder = Path(tempfile.mkdtemp(prefix="reprise-test-store-"))
    folder.chmod(0o755)
    store = Store.open(folder / "store")
    yield make_image(store, {"base": base_entries(), "python": python_entries(), "trainer": trainer_entries()})
    shutil.rmtree(folder)


@pytest.fixture
def bench(small_image: SmallImage, tmp_path: Path) -> Bench:
    return Bench(small_image, signed_folders(tmp_path, small_image.digest))


@pytest.fixture
def docker_host(docker_daemon: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DOCKER_HOST", docker_daemon)
    return docker_daemon


@pytest.fixture(params=["namespaces", "docker", "podman"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    if request.param == "docker":
        request.getfixturevalue("docker_host")
    if request.param == "podman":
        request.getfixturevalue("own_podman")
    return str(request.param)


@pytest.fixture(scope="session")
def docker_daemon_with_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dockerd(tmp_path_factory.mktemp("dockerd"), bridge=True) as address:
        yield address


@pytest.fixture(params=["namespaces", "docker", "podman"])
def engine_with_network(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each engine in turn, where it has a network to give. That of docker and podman leads to themselves alone."""
    if request.param == "docker":
        monkeypatch.setenv("DOCKER_HOST", request.getfixturevalue("docker_daemon_with_network"))
    if request.param == "podman":
        request.getfixturevalue("own_podman")
        command = shlex.join(on_another_network([str(shutil.which("podman"))]))
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/podman").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tmp_path / "bin/podman").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return str(request.param)
