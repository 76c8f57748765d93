"""`reprise lock` as a person types it, on a project of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.lock.conftest import TOML
from tests.support.wheels import write_wheel
from typer.testing import CliRunner, Result

from reprise.cli.verbs import make_app
from reprise.environments import load_lock
from reprise.project import Project
from reprise_trainer.errors import InputError


@pytest.fixture
def project(tmp_path: Path, mirror: str, offline_pip: Path, channel: str) -> Path:
    """A project whose environment `small` has a specification beside it."""
    root = tmp_path / "project"
    (root / "containers" / "images").mkdir(parents=True)
    (root / "locks").mkdir()
    images = root / "containers" / "images"
    sources = f'[sources]\ndebian_mirror = "{mirror}"\n'
    (images / "small.toml").write_text(f'{TOML}\n[conda]\nspecification = "small.yml"\n{sources}')
    (images / "small.yml").write_text(f"channels: [{channel}]\ndependencies: [numpy <2]\n")
    write_wheel(offline_pip, "alpha")
    return root


def reprise_lock(project: Path, *arguments: str) -> Result:
    store = ["--store", str(project / "store")]
    return CliRunner().invoke(make_app(), ["lock", "small", "--project", str(project), *store, *arguments])


def document(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def files(project: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project / "locks").rglob("*") if path.is_file()}


def test_a_lock_is_written_with_a_summary_of_what_came_in(project: Path) -> None:
    result = reprise_lock(project)
    assert result.exit_code == 0, result.output
    assert "+ conda numpy 1.26.4  (" in result.stdout and "+ wheel alpha 1.0  (" in result.stdout
    assert "strict and up to date" in result.stdout
    assert "solve the conda part" in result.stderr
    assert "nothing moved" in reprise_lock(project).stdout


def test_a_dry_run_shows_and_writes_nothing(project: Path) -> None:
    result = reprise_lock(project, "--dry-run")
    assert result.exit_code == 0 and "+ conda numpy 1.26.4" in result.stdout
    assert files(project) == {}
    shown = document(reprise_lock(project, "--dry-run", "--json"))
    assert shown["written"] is False
    numpy = next(each for each in shown["changes"] if each["name"] == "numpy")
    assert (numpy["change"], numpy["old"], numpy["new"]["version"]) == ("added", None, "1.26.4")
    assert numpy["new"]["size"] > 100 and len(numpy["new"]["sha256"]) == 64


def test_machines_get_what_moved(project: Path, channel: str) -> None:
    reprise_lock(project)
    spec = project / "containers" / "images" / "small.yml"
    spec.write_text(f"channels: [{channel}]\ndependencies: [numpy]\n")
    shown = document(reprise_lock(project, "--json", "--update", "numpy"))
    assert shown["written"] and shown["problems"] == []
    (numpy,) = shown["changes"]
    assert (numpy["old"]["version"], numpy["new"]["version"]) == ("1.26.4", "2.1.0")


def test_check_changes_nothing_and_says_when_the_lock_is_stale(project: Path, channel: str) -> None:
    reprise_lock(project)
    before = files(project)
    assert reprise_lock(project, "--check").exit_code == 0
    load_lock(Project(project), "small")
    spec = project / "containers" / "images" / "small.yml"
    spec.write_text(f"channels: [{channel}]\ndependencies: [numpy]\n")
    result = reprise_lock(project, "--check", "--json")
    assert result.exit_code == 1
    assert "does not match small.yml" in document(result)["problems"][0]
    with pytest.raises(InputError, match=r"does not match small\.yml(?s:.)*reprise lock small"):
        load_lock(Project(project), "small")
    assert files(project) == before


def test_check_goes_with_nothing_that_solves(project: Path) -> None:
    assert reprise_lock(project, "--check", "--update", "numpy").exit_code == 2
    assert reprise_lock(project, "--check", "--dry-run").exit_code == 2
