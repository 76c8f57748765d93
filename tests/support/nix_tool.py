"""A real Nix, told by its environment to build in the sandbox and to fetch nothing from caches."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
FLAKE_PARTS = ("flake.nix", "flake.lock", "pyproject.toml", "containers", "trainer", "locks", "examples")
"""What the flake reads."""


@dataclass(frozen=True)
class Nix:
    """A version of Nix: its programs (on PATH where `programs` is None), and its own store's root, or None for /nix."""

    scratch: Path
    programs: Path | None = None
    root: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "allow-import-from-derivation": "false",
            "build-users-group": "",
            "experimental-features": "nix-command flakes",
            "sandbox": "true",
            "sandbox-fallback": "false",
            "substitute": "false",
            **({"store": str(self.root)} if self.root else {}),
        }
        path = os.environ["PATH"] if self.programs is None else f"{self.programs}:{os.environ['PATH']}"
        return {
            **os.environ,
            "PATH": path,
            "NIX_CONFIG": "".join(f"{name} = {value}\n" for name, value in settings.items()),
            "XDG_CACHE_HOME": str(self.scratch / "cache"),
        }

    def run(
        self, *command: str | Path, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(each) for each in command], capture_output=True, text=True, cwd=cwd, env=self.environment
        )
        assert not check or done.returncode == 0, done.stderr[-4000:]
        return done

    def real(self, path: str) -> Path:
        """Where a path in the Nix store lies."""
        return Path(f"{self.root or ''}{path}")


@dataclass(frozen=True)
class Flake:
    """A flake's folder, its nixpkgs replaced by the stand-in; `inputs` are other inputs' folders."""

    nix: Nix
    folder: Path
    stand_in: Path
    inputs: tuple[tuple[str, Path], ...] = ()

    def run(
        self, verb: str, *arguments: str, attribute: str = "", check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`nix VERB FLAKE#ATTRIBUTE ARGUMENTS…`; a verb may be two words."""
        overrides = [("nixpkgs", self.stand_in)] if not self.inputs else list(self.inputs)
        options = ["--no-write-lock-file"]
        for name, folder in overrides:
            options += ["--override-input", name, f"path:{folder}"]
        where = f"path:{self.folder}" + (f"#{attribute}" if attribute else "")
        return self.nix.run("nix", *verb.split(), *options, where, *arguments, check=check, cwd=cwd)

    def evaluate(self, attribute: str, *arguments: str) -> Any:
        return json.loads(self.run("eval", "--json", *arguments, attribute=attribute).stdout)

    def build(self, attribute: str, *arguments: str) -> Path:
        """Build an attribute; where its output lies, logically."""
        link = self.nix.scratch / f"result-{attribute.rpartition('.')[2]}"
        self.run("build", "--out-link", str(link), *arguments, attribute=attribute)
        return link.readlink()

    def failure(self, verb: str, attribute: str, *arguments: str) -> str:
        """What a failing command says, without colours."""
        done = self.run(verb, *arguments, attribute=attribute, check=False)
        assert done.returncode != 0, done.stdout
        return re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)


def copy_flake(folder: Path) -> Path:
    """What a commit of this checkout holds of the flake, in a folder that may be changed."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *FLAKE_PARTS],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (CHECKOUT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, folder / name)
    return folder
