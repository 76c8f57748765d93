"""The command line as a user meets it: a process of its own, on a copy of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


Reprise = Callable[..., Finished]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's environments, locks and examples, free to be broken."""
    root = tmp_path / "project"
    for folder in ("containers/images", "locks", "examples"):
        shutil.copytree(CHECKOUT / folder, root / folder)
    return root


@pytest.fixture
def reprise(project: Path, tmp_path: Path) -> Reprise:
    """Run `reprise` in the copy, with a store and a key of its own, and no source of artifacts but the project's."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "REPRISE_"))},
        "REPRISE_STORE": str(tmp_path / "store"),
        "REPRISE_HOME": str(tmp_path / "home"),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "APT_CONFIG": str(_no_apt(tmp_path)),
    }

    def run(*arguments: str | Path, timeout: float = 120, **variables: str) -> Finished:
        command = [sys.executable, "-m", "reprise", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=project, env={**environment, **variables}, capture_output=True, text=True, timeout=timeout
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


def _no_apt(folder: Path) -> Path:
    """An apt configuration without any source."""
    (folder / "apt").mkdir()
    config = folder / "apt.conf"
    config.write_text(f'Dir::Etc "{folder}/apt"; Dir::State "{folder}/apt"; Dir::Cache "{folder}/apt";\n')
    return config
