"""An environment in a project of its own: its TOML, and a solved lock of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TOML = """\
# a comment
name = "small"
python = "3.11"
platform = "linux-64"

[debian]
suite = "bookworm"
packages = ["python3.11-minimal"]
assume = ["dpkg"]

[pypi]
requirements = ["alpha"]
"""


@pytest.fixture
def offline_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place that pip knows."""
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TOML)
    return path


@pytest.fixture
def committed(tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the committed lock of torch-cpu and of its environment file: (folder, file)."""
    folder = tmp_path / "locks" / "torch-cpu"
    shutil.copytree(ROOT / "locks" / "torch-cpu", folder)
    path = tmp_path / "torch-cpu.toml"
    shutil.copy(ROOT / "containers" / "images" / "torch-cpu.toml", path)
    return folder, path
