"""A wheel that only pip can find, fetched inside a fixed-output derivation: pip sees no configuration there."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from reprise_trainer.errors import InputError, UnavailableError

_NAME = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl"
)
"""packaging.python.org, "Binary distribution format", file name convention."""


def pip_arguments(file_name: str, find_links: Sequence[str]) -> list[str]:
    """What makes `pip download` choose the wheel of this name, from these places or pip's own index.

    Raises:
        InputError: it is not the name of a wheel.
    """
    parts = _NAME.fullmatch(file_name)
    if parts is None:
        raise InputError(f"{file_name!r} is not the name of a wheel")
    python = parts["python"].split(".")[0]  # "py2.py3" and "py3" are for any Python
    version = re.sub(r"\D", "", python)
    flags = [*(f"--find-links={place}" for place in find_links), "--only-binary=:all:", "--no-deps"]
    flags += [f"--implementation={re.sub(r'[^a-z]', '', python)}", f"--abi={parts['abi']}"]
    flags += [f"--platform={platform}" for platform in parts["platform"].split(".")]
    flags += [f"--python-version={version}"] if len(version) > 1 else []
    return [*flags, f"{parts['name']}=={parts['version']}"]


def fetch_wheel(file_name: str, find_links: Sequence[str], certificates: str, out: Path) -> None:
    """Have this Python's pip download a wheel to `out`.

    Args:
        certificates: file of certificate authorities (PEM); a sandbox has none.

    Raises:
        UnavailableError: pip did not get it; its own words are on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-m", "pip", "--isolated", "--disable-pip-version-check", "download"]
        command += ["--no-cache-dir", "--progress-bar=off", f"--cert={certificates}", f"--dest={folder}"]
        done = subprocess.run([*command, *pip_arguments(file_name, find_links)], stdout=sys.stderr, check=False)
        found = Path(folder, file_name)
        if done.returncode != 0 or not found.exists():
            raise UnavailableError(
                f"pip did not find {file_name}; asked: {', '.join([*find_links, 'its own index'])}",
                hint="Is there a network? Where reprise has it in its own store, run: reprise fetch --nix ENVIRONMENT",
            )
        out.write_bytes(found.read_bytes())
