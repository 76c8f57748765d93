"""A run's folder on the host: enough in it to go on, and nothing else taken for one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.engine.launch import LaunchContents
from reprise.run_folder import held, load_run, make_run_folder
from reprise.store import Store
from reprise_trainer.config.overrides import parse_override
from reprise_trainer.errors import InputError, NotFoundError, UsageError
from reprise_trainer.identity.launch import Launch

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion-mnist.toml"
LAUNCH = Launch("sha256:" + "1" * 64, "sha256:" + "2" * 64, "run-1", "docker", workers=2)
NO_STORE = Store(Path("nowhere"))
CONTENTS = LaunchContents(LAUNCH, EXAMPLE.read_bytes(), b"", b"", b"", b"", code=b"an archive")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run of the example that has begun."""
    return make_run_folder(tmp_path / "run", CONTENTS)


def test_a_run_goes_on_by_its_folder_alone(folder: Path) -> None:
    loaded, begun = load_run(None, (), folder, NO_STORE)
    assert loaded.data == EXAMPLE.read_bytes() and loaded.config.run.environment == "torch-cpu"
    assert loaded.code == b"an archive"
    assert begun and (begun.run, begun.image, begun.snapshot) == (LAUNCH.run, LAUNCH.image, LAUNCH.snapshot)
    assert load_run(EXAMPLE, (), folder, NO_STORE) == (replace(loaded, code=None), begun)


def test_a_configuration_starts_where_nothing_has_begun(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for resume in (tmp_path / "empty", tmp_path / "new", None):
        assert load_run(EXAMPLE, (), resume, NO_STORE)[1] is None
    with pytest.raises(NotFoundError, match="no run in"):
        load_run(None, (), tmp_path / "new", NO_STORE)
    with pytest.raises(UsageError, match="nothing says what to run"):
        load_run(None, (), None, NO_STORE)


def test_another_configuration_is_not_that_of_the_run(folder: Path) -> None:
    overrides = [parse_override("train.batch_size=32")]
    with pytest.raises(InputError, match="another configuration than that of run run-1"):
        load_run(EXAMPLE, overrides, folder, NO_STORE)
    with pytest.raises(UsageError, match="keeps its configuration"):
        load_run(None, overrides, folder, NO_STORE)


def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"not the folder of a run: it has no run\.toml"):
        load_run(None, (), tmp_path / "mine", NO_STORE)
    for taken in (folder, tmp_path / "mine"):
        with pytest.raises(InputError, match="not empty"):
            make_run_folder(taken, CONTENTS)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "mine"


def test_a_run_goes_on_once_at_a_time_and_a_killed_one_holds_nothing(folder: Path) -> None:
    program = (
        "import sys, pathlib, reprise.run_folder as f\n"
        "with f.held(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as other:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="going on already"), held(folder):
            pass
        other.kill()
        other.wait()
    with held(folder):
        pass
