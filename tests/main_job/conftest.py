"""The real environment, built once, and a run that takes seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from servers import dockerd

from reprise.build import BuiltImage
from reprise.environments import build_environment
from reprise.project import Project
from reprise.store import Store
from reprise.train import Launcher, RunResult, train
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples" / "fashion-mnist.toml"

Trains = Callable[..., RunResult]


@pytest.fixture(scope="session")
def project() -> Project:
    return Project(CHECKOUT)


@pytest.fixture(scope="session")
def store() -> Store:
    """The tests' store: `make test` names it, and keeps it so that a second run needs no download."""
    return Store.open(Path(os.environ.get("REPRISE_STORE", CHECKOUT / ".cache" / "store")))


@pytest.fixture(scope="session")
def image(project: Project, store: Store) -> BuiltImage:
    """The training image of torch-cpu."""
    return build_environment(project, "torch-cpu", store)


@pytest.fixture(scope="session")
def launcher(store: Store, image: BuiltImage) -> Launcher:
    """Somebody with a key of their own, who has signed the image."""
    key = make_key()
    sign_image(store, image.digest, "torch-cpu", key)
    return Launcher(store, key, own_policy(key.public_key()))


@pytest.fixture(scope="session")
def docker_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Docker daemon of the tests' own."""
    with dockerd(tmp_path_factory.mktemp("dockerd")) as address:
        yield address


@pytest.fixture
def trains(project: Project, launcher: Launcher, tmp_path: Path) -> Trains:
    """Train the example's configuration cut down to a small network and 30 steps; words are replaced as asked."""

    def run(name: str, *changes: tuple[str, str], who: Launcher = launcher) -> RunResult:
        text = EXAMPLE.read_text()
        for old, new in (("epochs = 2", "steps = 30"), ("checkpoint_every = 235", "checkpoint_every = 20"), *changes):
            assert old in text, old
            text = text.replace(old, new)
        config = tmp_path / f"{name}.toml"
        config.write_text(text)
        return train(config, who, project, output=tmp_path / name)

    return run
