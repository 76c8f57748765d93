"""A conda environment all the way: solved on a channel, locked, built, trained in, rebuilt from what lies beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conda_channel import make_channel

from reprise.build import BuiltImage
from reprise.environments import build_environment
from reprise.lock.check import check_lock
from reprise.lock.read import read_lock
from reprise.lock.write import propose_lock, write_lock
from reprise.project import Project
from reprise.rebuild import rebuild
from reprise.store import Store
from reprise.train import Launcher, train
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from tests.main_job.conftest import EXAMPLE

NAME = "with-conda"
TOML = """
name = "with-conda"
python = "3.11"
platform = "linux-64"

[debian]
suite = "bookworm"
packages = ["base-files", "libc6", "libgcc-s1", "libstdc++6"]
assume = ["dpkg", "mawk"]

[conda]
specification = "with-conda.yml"

[conda.virtual]
__glibc = "2.36"

[pypi]
requirements = ["torch==2.13.0+cpu", "safetensors", "pydantic>=2.9,<3", "cryptography>=44"]
build = ["zstandard==0.25.0", "isal==1.9.1"]
"""
SPECIFICATION = """
channels: ["{channel}"]
dependencies: [python 3.11.*, numpy, hello]
"""


@dataclass(frozen=True)
class CondaProject:
    """A project whose one environment has been locked and built, while its channel was there; now it is gone."""

    project: Project
    store: Store
    built: BuiltImage

    @property
    def environment(self) -> Path:
        return self.project.environment_file(NAME)


@pytest.fixture(scope="module")
def conda_project(tmp_path_factory: pytest.TempPathFactory, shared_store: Store) -> Iterator[CondaProject]:
    folder = tmp_path_factory.mktemp("conda-project")
    project = Project(folder)
    (folder / "containers" / "images").mkdir(parents=True)
    (folder / "locks").mkdir()
    environment = folder / "containers" / "images" / f"{NAME}.toml"
    environment.write_text(TOML)
    with make_channel(folder / "channel", small=5).serve() as (url, _):
        environment.with_suffix(".yml").write_text(SPECIFICATION.format(channel=url))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RATTLER_CACHE_DIR", str(folder / "cache"))
            write_lock(folder / "locks" / NAME, propose_lock(environment, folder / "locks" / NAME, store=shared_store))
        built = build_environment(project, NAME, shared_store)
    yield CondaProject(project, shared_store, built)


def test_its_lock_is_strict_with_every_artifact_opened(conda_project: CondaProject) -> None:
    folder = conda_project.project.lock_folder(NAME)
    assert check_lock(folder, conda_project.environment, conda_project.store) == []
    kinds = {each.name: each.kind for each in read_lock(folder).artifacts}
    assert (kinds["python"], kinds["numpy"], kinds["torch"], kinds["libc6"]) == ("conda", "conda", "wheel", "deb")


def test_its_image_is_rebuilt_from_what_lies_beside_it(conda_project: CondaProject, tmp_path: Path) -> None:
    report = rebuild(conda_project.built.digest, conda_project.store)
    assert report.level == "same manifest", report


def test_a_run_in_it_has_the_same_bits_twice_and_measures_itself(conda_project: CondaProject, tmp_path: Path) -> None:
    key = make_key()
    sign_image(conda_project.store, conda_project.built.digest, NAME, key)
    launcher = Launcher(conda_project.store, key, own_policy(key.public_key()))
    text = EXAMPLE.read_text().replace('environment = "torch-cpu"', f'environment = "{NAME}"')
    config = tmp_path / "run.toml"
    config.write_text(text.replace("epochs = 2", "steps = 20").replace("every = 235", "every = 20"))
    first, second = (
        train(config, launcher, conda_project.project, output=tmp_path / name) for name in ("first", "second")
    )
    assert first.image_digest == first.measured_digest == conda_project.built.digest
    assert (first.ledger_head, first.state_digest) == (second.ledger_head, second.state_digest)
