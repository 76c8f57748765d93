"""Artifacts → the Nix store, by their hashes: what our derivations would fetch is then there already."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reprise.lock.model import Artifact
from reprise.nix.names import store_name
from reprise.store import Store
from reprise_trainer.errors import NotFoundError, SystemFailureError


def add_to_nix(artifacts: Sequence[Artifact], store: Store) -> list[str]:
    """Put artifacts into the Nix store, as the outputs of the fixed-output derivations that name them.

    Args:
        artifacts: in the store already.

    Returns:
        Their paths in the Nix store, in the same order. Nothing keeps them from Nix's garbage collector.

    Raises:
        NotFoundError: Nix is not installed, or an artifact is not in the store.
        SystemFailureError: Nix refuses.
    """
    program = shutil.which("nix-store")
    if program is None:
        raise NotFoundError("nix-store is not on PATH", hint="Install Nix, or leave out --nix.")
    with tempfile.TemporaryDirectory(dir=store.root / "partial", prefix="nix-") as folder:
        files = [_named(artifact, store, Path(folder, str(number))) for number, artifact in enumerate(artifacts)]
        command = [program, "--add-fixed", "sha256", *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemFailureError(f"nix-store --add-fixed failed: {done.stderr.strip()[-1000:]}")
    return done.stdout.split()


def _named(artifact: Artifact, store: Store, folder: Path) -> Path:
    """The artifact's file under its name in the Nix store, which is part of its path there."""
    folder.mkdir()
    path = folder / store_name(artifact.file_name)
    path.hardlink_to(store.check(artifact.digest))
    return path
