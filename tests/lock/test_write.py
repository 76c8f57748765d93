"""Solving an environment writes a whole lock, the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from conda_lock.lockfile import parse_conda_lock_file
from tests.support.debian_archive import CREATED
from tests.support.wheels import write_wheel

from reprise.lock.model import CONDA_LOCK, CONDA_SPEC, DEBIAN_LOCK, LAYER_PLAN, Lock
from reprise.lock.write import lock_environment
from reprise_trainer.errors import InputError, StorageError, UnavailableError

FILES = {CONDA_LOCK, CONDA_SPEC, DEBIAN_LOCK, LAYER_PLAN}


def lock(environment: Path, folder: Path, mirror: str) -> Lock:
    return lock_environment(environment, folder, debian_mirror=mirror)


def test_a_lock_is_written_whole(environment: Path, tmp_path: Path, offline_pip: Path, mirror: str) -> None:
    write_wheel(offline_pip, "alpha", requires=["beta"])
    write_wheel(offline_pip, "beta", files={"beta.bin": bytes(9 * 2**20)})
    found = lock(environment, tmp_path / "locks" / "small", mirror)
    assert [each.name for each in found.artifacts] == ["libc6", "python3.11-minimal", "alpha", "beta"]
    assert (found.environment, found.python, found.platform, found.created) == ("small", "3.11", "linux-64", CREATED)
    assert found.layers[-1].name == "beta"
    assert {path.name for path in (tmp_path / "locks" / "small").iterdir()} == FILES
    theirs = parse_conda_lock_file(tmp_path / "locks" / "small" / CONDA_LOCK)
    assert {each.name: each.dependencies for each in theirs.package} == {"alpha": {"beta": ""}, "beta": {}}


def test_the_same_solution_gives_the_same_bytes(
    environment: Path, tmp_path: Path, offline_pip: Path, mirror: str
) -> None:
    write_wheel(offline_pip, "alpha")
    assert lock(environment, tmp_path / "a", mirror).digest == lock(environment, tmp_path / "b", mirror).digest
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_cannot_be_solved_leaves_the_old_lock(
    environment: Path, tmp_path: Path, offline_pip: Path, mirror: str
) -> None:
    path = write_wheel(offline_pip, "alpha")
    folder = tmp_path / "small"
    lock(environment, folder, mirror)
    before = {each.name: each.read_bytes() for each in folder.iterdir()}
    path.unlink()
    with pytest.raises((InputError, UnavailableError), match="alpha"):
        lock(environment, folder, mirror)
    assert {each.name: each.read_bytes() for each in folder.iterdir()} == before


def test_other_files_of_the_folder_stay(environment: Path, tmp_path: Path, offline_pip: Path, mirror: str) -> None:
    write_wheel(offline_pip, "alpha")
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "environment.digest").write_text("sha256:0")
    lock(environment, tmp_path / "small", mirror)
    assert (tmp_path / "small" / "environment.digest").read_text() == "sha256:0"


def test_a_folder_that_cannot_be_written_is_named(
    environment: Path, tmp_path: Path, offline_pip: Path, mirror: str
) -> None:
    write_wheel(offline_pip, "alpha")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        lock(environment, tmp_path / "file", mirror)
