"""What cannot be built ends in one message that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nix_tool import Flake, copy_flake
from small_project import NAME, small_project

from reprise.artifacts.fetch import fetch
from reprise.lock.environment import read_environment
from reprise.lock.read import read_lock
from reprise.nix.add import add_to_nix
from reprise.store import Store

Change = Callable[[Path], None]


@pytest.fixture
def changed(flake: Flake, tmp_path: Path) -> Flake:
    """This checkout's flake with the small environment, in a folder that a test may change."""
    folder = copy_flake(tmp_path / "reprise")
    project = small_project(tmp_path / "project").root
    for part in (f"locks/{NAME}", f"containers/images/{NAME}.toml"):
        (project / part).rename(folder / part)
    return replace(flake, folder=folder)


def error_of(said: str) -> str:
    """The message, once the trace of evaluation frames that Nix can show on demand is asked to be left out."""
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    return line


def change_document(file: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(file.read_bytes())
    change(document)
    file.write_text(json.dumps(document))


def test_an_environment_without_a_lock_says_how_to_lock_it(changed: Flake) -> None:
    (changed.folder / "containers" / "images" / "new.toml").write_text('name = "new"\n')
    said = error_of(changed.failure("build", "image-new"))
    assert said == "error: reprise: environment new is not locked. Write its lock with: reprise lock new"


def test_a_lock_that_lacks_a_file_says_which(changed: Flake) -> None:
    (changed.folder / "locks" / NAME / "layers.json").unlink()
    said = error_of(changed.failure("build", f"image-{NAME}"))
    assert f"{NAME} is not locked ({NAME}/layers.json is missing)" in said and f"reprise lock {NAME}" in said


def test_an_artifact_without_sha256_is_named(changed: Flake) -> None:
    def change(document: dict[str, object]) -> None:
        document["package"][0]["hash"] = {}  # type: ignore[index]

    change_document(changed.folder / "locks" / NAME / "conda-lock.yml", change)
    said = error_of(changed.failure("build", f"image-{NAME}"))
    assert "pkg:pypi/typing-extensions@" in said and "has no sha256" in said and f"reprise lock {NAME}" in said


def test_a_layer_of_something_that_is_not_locked_is_named(changed: Flake) -> None:
    plan = {"format": 1, "layers": [{"name": "deb-0", "artifacts": ["pkg:deb/debian/gone@1?arch=amd64"]}]}
    (changed.folder / "locks" / NAME / "layers.json").write_text(json.dumps(plan))
    said = error_of(changed.failure("build", f"image-{NAME}"))
    assert f"layer deb-0 of {NAME} names pkg:deb/debian/gone@1?arch=amd64" in said and f"reprise lock {NAME}" in said


def test_an_unsupported_system_is_told_where_images_are_built(flake: Flake) -> None:
    expression = (
        f'flake: (flake.mkImage {{ system = "aarch64-linux"; lock = {flake.folder}/locks/torch-cpu; '
        f"environment = {flake.folder}/containers/images/torch-cpu.toml; }}).drvPath"
    )
    said = error_of(flake.failure("eval", "lib", "--impure", "--apply", expression))
    assert "images are built on x86_64-linux, not on aarch64-linux" in said and "remote builder" in said


def test_an_artifact_that_nobody_has_is_named_with_what_to_do(changed: Flake) -> None:
    def change(document: dict[str, object]) -> None:
        for each in document["packages"]:  # type: ignore[attr-defined]
            if "/base-files@" in each["purl"]:
                each["sha256"] = "1" * 64

    change_document(changed.folder / "locks" / NAME / "debian.lock.json", change)
    said = changed.failure("build", f"image-{NAME}", "--print-build-logs")
    assert "base-files_12.4+deb12u15_amd64.deb could not be fetched. Is there a network?" in said
    assert "reprise fetch --nix" in said


def test_a_lock_of_another_environment_file_is_refused(changed: Flake, shared_store: Store) -> None:
    toml = changed.folder / "containers" / "images" / f"{NAME}.toml"
    artifacts = read_lock(changed.folder / "locks" / NAME).artifacts
    fetch(artifacts, shared_store, read_environment(toml).sources)
    add_to_nix(artifacts, shared_store)  # Nix builds the layers before the image looks at the environment
    toml.write_text(toml.read_text().replace('"typing-extensions"', ""))
    said = changed.failure("build", f"image-{NAME}", "--print-build-logs")
    assert "does not match its environment file" in said and "reprise lock" in said
