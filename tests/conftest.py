"""What tests of several parts share: a small disk, a Docker daemon, and the real environment, built once."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conda_channel import Channel, make_channel
from hypothesis import HealthCheck, settings
from servers import dockerd, unmount_below

from reprise.build import BuiltImage
from reprise.environments import build_environment
from reprise.project import Project
from reprise.store import Store

CHECKOUT = Path(__file__).parents[1]

# A busy machine is not a defect.
settings.register_profile("reprise", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("reprise")

os.environ.setdefault("REPRISE_STORE", str(CHECKOUT / ".cache" / "store"))  # never the user's


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MiB (tmpfs; mounting it needs root, which the tests' machine has)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Docker daemon that was started for the tests and ends with them."""
    with dockerd(tmp_path_factory.mktemp("dockerd")) as address:
        yield address


@pytest.fixture(scope="session")
def podman_storage() -> Iterator[Path]:
    """The configuration of a podman of the tests' own: its storage is elsewhere, and its limits are not above ours.

    Gives a folder with containers.conf and storage.conf.
    """
    with tempfile.TemporaryDirectory(prefix="podman-") as name:  # a socket's path must be short
        folder = Path(name)
        (folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            f'tmp_dir = "{folder}/tmp"\n'
        )
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        )
        yield folder
        unmount_below(name)  # podman leaves its storage mounted


@pytest.fixture
def own_podman(podman_storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every podman that is started from here has that configuration."""
    monkeypatch.setenv("CONTAINERS_CONF", str(podman_storage / "containers.conf"))
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(podman_storage / "storage.conf"))


@pytest.fixture(scope="session")
def project() -> Project:
    """This checkout."""
    return Project(CHECKOUT)


@pytest.fixture(scope="session")
def shared_store() -> Store:
    """The tests' store: `make test` names it, and keeps it so that a second run needs no download."""
    return Store.open()


@pytest.fixture(scope="session")
def built(project: Project, shared_store: Store) -> Callable[[str], BuiltImage]:
    """Gives the training image of the environment of that name, in the shared store; asked twice, it builds once."""
    return functools.cache(lambda name: build_environment(project, name, shared_store))


@pytest.fixture(scope="session")
def torch_cpu(built: Callable[[str], BuiltImage]) -> BuiltImage:
    return built("torch-cpu")


@pytest.fixture(scope="session")
def jax_cpu(built: Callable[[str], BuiltImage]) -> BuiltImage:
    return built("jax-cpu")


@pytest.fixture(scope="session")
def conda_channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    """A real conda channel in a folder, with a Python, NumPy and packages of every kind."""
    return make_channel(tmp_path_factory.mktemp("conda"))
