"""The flake as Nix users meet it: pin, outputs, what it takes of nixpkgs, how fast it evaluates."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from nix_tool import CHECKOUT, Flake
from stand_in import PACKAGES

NIX_FILES = [CHECKOUT / "flake.nix", *sorted((CHECKOUT / "containers" / "nix").glob("*.nix"))]
ENVIRONMENTS = sorted(path.name for path in (CHECKOUT / "locks").iterdir())


def listed_attributes() -> dict[str, str]:
    lines = (CHECKOUT / "tests" / "nix" / "attributes.txt").read_text().splitlines()
    return dict(line.split() for line in lines if not line.startswith("#"))


@pytest.fixture(scope="session")
def evaluated(flake: Flake) -> tuple[float, str]:
    """Every output of this system evaluated, anew: the seconds that it took, and what it said."""
    started = time.monotonic()
    said = flake.run("flake check", "--no-build", "--option", "eval-cache", "false").stderr
    return time.monotonic() - started, said


def test_nixpkgs_is_the_one_input_and_is_pinned() -> None:
    lock = json.loads((CHECKOUT / "flake.lock").read_bytes())
    assert sorted(lock["nodes"]) == ["nixpkgs", "root"]
    assert lock["nodes"]["nixpkgs"]["original"] == {
        "owner": "NixOS",
        "ref": "nixos-unstable",
        "repo": "nixpkgs",
        "type": "github",
    }
    assert lock["nodes"]["nixpkgs"]["locked"] == {
        "lastModified": 1778869304,
        "narHash": "sha256-30sZNZoA1cqF5JNO9fVX+wgiQYjB7HJqqJ4ztCDeBZE=",
        "owner": "NixOS",
        "repo": "nixpkgs",
        "rev": "d233902339c02a9c334e7e593de68855ad26c4cb",
        "type": "github",
    }


def test_the_lock_file_is_what_nix_would_write(flake: Flake) -> None:
    """Nix reads it, and finds that it needs no change but the override."""
    metadata = json.loads(flake.run("flake metadata", "--json").stdout)
    root = metadata["locks"]["nodes"]["root"]
    assert root["inputs"] == {"nixpkgs": "nixpkgs"}
    ours = json.loads((flake.folder / "flake.lock").read_bytes())
    assert metadata["locks"]["version"] == ours["version"]


def test_all_outputs_evaluate_within_five_seconds(evaluated: tuple[float, str]) -> None:
    assert evaluated[0] < 5


def test_what_the_flake_touches_of_nixpkgs_is_what_is_listed(flake: Flake, evaluated: tuple[float, str]) -> None:
    """If this fails: has nixpkgs the attribute at the pinned revision, with this name and meaning? Then add it to
    tests/nix/attributes.txt, with the file that defines it. Else do without it."""
    touched = set(re.findall(r"trace: uses (\S+)", evaluated[1]))
    for output in ("apps.x86_64-linux.default.program", "apps.x86_64-linux.build.program", "formatter.x86_64-linux"):
        said = flake.run("eval", "--option", "eval-cache", "false", attribute=output).stderr
        touched |= set(re.findall(r"trace: uses (\S+)", said))
    assert touched == set(listed_attributes())


def test_packages_reprise_has_all_that_pyproject_names() -> None:
    wanted = {f"python3.pkgs.{name}" for name in [*PACKAGES, "pip"]}
    assert wanted == {name for name in listed_attributes() if name.startswith("python3.pkgs.")}


def test_each_listed_attribute_says_where_nixpkgs_defines_it() -> None:
    assert all(re.fullmatch(r"pkgs/.+\.nix", file) for file in listed_attributes().values())


def test_show_lists_an_image_for_each_lock_and_every_kind_of_output(flake: Flake) -> None:
    shown = json.loads(flake.run("flake show", "--json").stdout)
    packages = shown["packages"]
    assert {name for name in packages["x86_64-linux"] if name.startswith("image-")} == {
        f"image-{name}" for name in ENVIRONMENTS
    }
    assert "reprise" in packages["x86_64-linux"] and "reprise" in packages["aarch64-linux"]
    assert {"default", "build", "verify", "audit"} <= set(shown["apps"]["x86_64-linux"])
    assert shown["checks"]["x86_64-linux"] and shown["templates"]["default"]
    for output in ("devShells", "formatter"):
        assert set(shown[output]) == {"x86_64-linux", "aarch64-linux"}


def test_develop_starts_a_shell_with_the_command(flake: Flake) -> None:
    done = flake.run("develop", "--command", "reprise", "--version")
    assert re.match(r"reprise \d", done.stdout)


def test_the_app_is_the_command(flake: Flake) -> None:
    done = flake.run("run", "--", "--help", attribute="build")
    assert "reprise build" in done.stdout and "ENVIRONMENT" in done.stdout


@pytest.mark.parametrize("file", NIX_FILES, ids=lambda path: path.name)
def test_no_file_names_a_host_but_that_of_nixpkgs(file: Path) -> None:
    assert re.findall(r"\w+://(?!debian/)\S*", file.read_text()) in ([], ['[a-z]+://.*"'])
