"""The locks that this repository ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conda_lock.lockfile import parse_conda_lock_file
from tests.lock.conftest import ROOT

from reprise.lock.check import check_lock
from reprise.lock.environment import read_environment
from reprise.lock.model import CONDA_LOCK, CONDA_SPEC, DEBIAN_LOCK, LAYER_PLAN
from reprise.lock.plan import LARGE, plan_layers
from reprise.lock.read import read_lock
from reprise.lock.render import conda_spec
from reprise.store import Store

LOCKS = sorted(path.parent for path in (ROOT / "locks").glob(f"*/{CONDA_LOCK}"))


def environment_file(folder: Path) -> Path:
    return ROOT / "containers" / "images" / f"{folder.name}.toml"


def test_there_is_a_lock_for_every_environment() -> None:
    names = sorted(path.stem for path in (ROOT / "containers" / "images").glob("*.toml"))
    assert "torch-cpu" in names
    assert [folder.name for folder in LOCKS] == names


@pytest.mark.parametrize("folder", LOCKS, ids=lambda folder: folder.name)
def test_a_committed_lock_is_strict_and_fits_its_environment(folder: Path, tmp_path: Path) -> None:
    assert check_lock(folder, environment_file(folder), Store.open(tmp_path / "store")) == []


@pytest.mark.parametrize("folder", LOCKS, ids=lambda folder: folder.name)
def test_conda_locks_own_reader_sees_what_ours_sees(folder: Path) -> None:
    theirs = parse_conda_lock_file(folder / CONDA_LOCK)
    ours = read_lock(folder)
    assert theirs.metadata.content_hash == {ours.platform: ours.environment_sha256}
    assert theirs.metadata.custom_metadata == {"environment": ours.environment, "python": ours.python}
    found = {
        (each.name, each.version, each.url, each.hash.sha256, frozenset(each.categories), each.manager, each.platform)
        for each in theirs.package
    }
    assert found == {
        (each.name, each.version, each.purl, each.sha256, frozenset([each.category]), "pip", ours.platform)
        for each in ours.artifacts
        if each.kind == "wheel"
    }


@pytest.mark.parametrize("folder", LOCKS, ids=lambda folder: folder.name)
def test_a_lock_names_no_host(folder: Path) -> None:
    for name in (CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN, CONDA_SPEC):
        assert "://" not in (folder / name).read_text(), name


@pytest.mark.parametrize("folder", LOCKS, ids=lambda folder: folder.name)
def test_the_conda_specification_is_the_environments(folder: Path) -> None:
    environment = read_environment(environment_file(folder))
    assert (folder / CONDA_SPEC).read_text() == conda_spec(environment)


def test_torch_cpu_holds_the_official_wheel_and_debians_frozen_python() -> None:
    lock = read_lock(ROOT / "locks" / "torch-cpu")
    found = {each.name: each for each in lock.artifacts}
    assert found["torch"].version == "2.13.0+cpu"
    assert found["torch"].sha256 == "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"
    assert found["python3.11-minimal"].version == "3.11.2-6+deb12u8"
    assert found["libssl3"].version == "3.0.20-1~deb12u2"
    assert (found["zstandard"].version, found["zstandard"].category) == ("0.25.0", "build")
    assert (found["isal"].version, found["isal"].category) == ("1.9.1", "build")
    assert lock.created == 1783764997, "the date of the suite's Release file, 11 July 2026"


def test_torch_cpu_has_no_shell_no_package_manager_and_no_archiver() -> None:
    lock = read_lock(ROOT / "locks" / "torch-cpu")
    names = {each.name for each in lock.artifacts if each.kind == "deb"}
    assert names.isdisjoint({"bash", "dash", "busybox", "dpkg", "apt", "tar", "mawk", "perl-base", "coreutils"})


def test_torch_cpu_gives_each_large_artifact_its_own_layer() -> None:
    lock = read_lock(ROOT / "locks" / "torch-cpu")
    alone = {layer.name: layer.artifacts for layer in lock.layers if layer.name in ("torch", "numpy")}
    sizes = {each.purl: each.size for each in lock.artifacts}
    sizes |= {purl: LARGE for (purl,) in alone.values()}
    assert plan_layers(lock.artifacts, sizes) == lock.layers


def test_a_committed_lock_is_as_our_writer_writes() -> None:
    for folder in LOCKS:
        for name in (CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN):
            text = (folder / name).read_text()
            assert json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n" == text, name
