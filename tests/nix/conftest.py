"""Two real Nixes, the stand-in for nixpkgs, and this checkout's flake."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nix_tool import CHECKOUT, Flake, Nix, copy_flake
from stand_in import make_stand_in

from reprise.lock.model import Lock
from reprise.lock.read import read_lock


@pytest.fixture(scope="session")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Nix:
    """Debian's Nix, with the machine's Nix store."""
    return Nix(tmp_path_factory.mktemp("nix"))


@pytest.fixture(scope="session")
def newest_nix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nix]:
    """The newest Nix, with a store of its own."""
    got = subprocess.run([CHECKOUT / "scripts" / "get-nix"], capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    root = tmp_path_factory.mktemp("newest-store")
    yield Nix(tmp_path_factory.mktemp("newest"), Path(got.stdout.strip()), root)
    subprocess.run(["chmod", "-R", "u+w", root], check=True)
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def stand_in(nix: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stand_in(tmp_path_factory.mktemp("stand-in") / "nixpkgs", nix)


@pytest.fixture(scope="session")
def flake(nix: Nix, stand_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Flake:
    """This checkout."""
    return Flake(nix, copy_flake(tmp_path_factory.mktemp("flake") / "reprise"), stand_in)


@pytest.fixture(scope="session")
def lock() -> Lock:
    return read_lock(CHECKOUT / "locks" / "torch-cpu")
