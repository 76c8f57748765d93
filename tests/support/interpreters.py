"""Other versions of Python to run the host side under, each with this project's dependencies beside it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def interpreter(version: str) -> Path:
    """A CPython `version` ("3.13") of this machine: on the PATH, or among pyenv's.

    Raises:
        RuntimeError: there is none; the message says how to get one.
    """
    shims = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [*sorted(shims.glob(f"versions/{version}.*/bin/python{version}"))]
    if on_path := shutil.which(f"python{version}"):
        found.append(Path(on_path))
    for candidate in found:
        if _answers(candidate, version):
            return candidate
    raise RuntimeError(
        f"there is no python{version} on the PATH or in {shims}: install one (`pyenv install {version}`)"
    )


def host_environment(version: str) -> Path:
    """The interpreter of an environment with this project's dependencies; made once, kept in `.cache`."""
    needed = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["dependencies"]
    name = f"{version}-{hashlib.sha256(repr(needed).encode()).hexdigest()[:12]}"
    folder = CHECKOUT / ".cache" / "hosts" / name
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            subprocess.run([interpreter(version), "-m", "venv", "--clear", folder / "venv"], check=True)
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needed]
            subprocess.run(install, check=True, stderr=sys.stderr)
            (folder / "whole").touch()
    return python


def _answers(python: Path, version: str) -> bool:
    ask = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    done = subprocess.run(ask, capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == version
