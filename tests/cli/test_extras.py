"""What is not installed is said at once, and how to install it: a host has neither NumPy nor a solver."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import CHECKOUT

TRAINER = ("-m", "reprise_trainer")


HIDING = """
import importlib.machinery as machinery
import sys
found = machinery.PathFinder.find_spec
def find(name, *rest):
    return None if name.partition(".")[0] == {library!r} else found(name, *rest)
machinery.PathFinder.find_spec = find
"""


def without(library: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python where `library` can't be imported."""
    (folder / "sitecustomize.py").write_text(HIDING.format(library=library))
    environment = {**os.environ, "PYTHONPATH": str(folder), "REPRISE_STORE": str(folder / "store")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=CHECKOUT, env=environment, capture_output=True, check=False, text=True
    )


@pytest.mark.parametrize(
    ("library", "arguments", "said"),
    [
        ("numpy", (*TRAINER, "checkpoint", "verify", "."), "reprise[checkpoints]"),
        ("safetensors", (*TRAINER, "checkpoint", "diff", ".", "."), "reprise[checkpoints]"),
        ("torch", (*TRAINER, "operations", "--backend", "torch"), "there is no torch here"),
        ("jax", (*TRAINER, "operations", "--backend", "jax"), "there is no jax here"),
        ("conda_lock", ("-m", "reprise", "lock", "torch-cpu", "--dry-run"), "reprise[lock]"),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_way_to_get_it(
    library: str, arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = without(library, *arguments, folder=tmp_path)
    assert done.returncode == 71, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr, done.stderr


def test_the_solvers_are_asked_for_before_minutes_of_solving(tmp_path: Path) -> None:
    began = time.monotonic()
    done = without("conda_lock", "-m", "reprise", "lock", "torch-cpu", "--dry-run", folder=tmp_path)
    assert done.returncode == 71 and "solve" not in done.stderr and time.monotonic() - began < 20
