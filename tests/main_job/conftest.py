"""The real environment, built once, and a run that takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reprise.build import BuiltImage
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
def launcher(shared_store: Store, torch_cpu: BuiltImage) -> Launcher:
    """Somebody with a key of their own, who has signed the image."""
    key = make_key()
    sign_image(shared_store, torch_cpu.digest, "torch-cpu", key)
    return Launcher(shared_store, key, own_policy(key.public_key()))


@pytest.fixture
def trains(project: Project, launcher: Launcher, tmp_path: Path) -> Trains:
    """Train the example's configuration cut down to a small network and 30 steps; words are replaced as asked."""

    def run(name: str, *changes: tuple[str, str], who: Launcher = launcher) -> RunResult:
        text = EXAMPLE.read_text()
        for old, new in (("epochs = 2", "steps = 30"), ("every = 235", "every = 20"), *changes):
            assert old in text, old
            text = text.replace(old, new)
        config = tmp_path / f"{name}.toml"
        config.write_text(text)
        return train(config, who, project, output=tmp_path / name)

    return run
