"""A lock in the forms that other installers take as they are, each file with its hash.

- `pip`: a requirements file (pip's documentation, "Requirements File Format" and "Secure installs").
- `conda`: an explicit specification (conda's CEP 23) with sha256: conda from 24.9 on, micromamba from 2.0 on, pixi.
- `conda-md5`: the same with md5, which is all that older ones read. Anybody can make two files of one md5: not for
  channels that you don't trust.

Debian packages are in none of them; they are what an image adds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from reprise.lock.model import CONDA_LOCK, Artifact, Lock
from reprise.lock.read import read_lock
from reprise_trainer.errors import InputError

ExportFormat = Literal["pip", "conda", "conda-md5"]


def export_lock(folder: Path, environment_path: Path, form: ExportFormat) -> str:
    """The text of the file.

    Args:
        folder: `locks/<name>/`.
        environment_path: `containers/images/<name>.toml`, which the lock must match.
        form: for which installer.

    Raises:
        InputError: the lock is malformed or stale, has nothing for this installer, or no md5 where that is asked for.
        NotFoundError: a file is not there.
    """
    lock = read_lock(folder, environment_path)
    if form == "pip":
        return _pip(lock, _main(lock, "wheel", "Python wheels", "conda"))
    packages = _main(lock, "conda", "conda packages", "pip")
    if form == "conda":
        return _explicit(lock, [f"{each.location}#sha256:{each.sha256}" for each in packages])
    md5 = _md5_sums(folder)
    return _explicit(lock, [f"{each.location}#{md5[each.location]}" for each in packages])


def _main(lock: Lock, kind: str, what: str, other: str) -> Sequence[Artifact]:
    found = [each for each in lock.artifacts if each.kind == kind and each.category == "main"]
    if not found:
        raise InputError(
            f"the lock of {lock.environment} holds no {what}",
            hint=f"Try: reprise lock {lock.environment} --export {other}",
        )
    return found


def _pip(lock: Lock, wheels: Sequence[Artifact]) -> str:
    """`===` takes a version as it is written: where an index offers 1.0+cpu too, `==1.0` would take that."""
    lines = [
        f"# The Python part of {lock.environment}, for Python {lock.python}. Written by `reprise lock`.",
        "--require-hashes",
        "--only-binary :all:",
        *(f"{each.name}==={each.version} --hash=sha256:{each.sha256}" for each in wheels),
    ]
    return "\n".join(lines) + "\n"


def _explicit(lock: Lock, urls: Sequence[str]) -> str:
    lines = [
        f"# The conda part of {lock.environment}. Written by `reprise lock`.",
        f"# platform: {lock.platform}",
        "@EXPLICIT",
        *urls,
    ]
    return "\n".join(lines) + "\n"


def _md5_sums(folder: Path) -> dict[str, str]:
    """The md5 of each conda package, by its address; conda-lock's schema has one for each."""
    path = folder / CONDA_LOCK
    entries = [each for each in json.loads(path.read_bytes())["package"] if each["manager"] == "conda"]
    if missing := [each["name"] for each in entries if not each["hash"].get("md5")]:
        raise InputError(f"{path}: no md5 is known of {', '.join(missing)}", hint="Export with sha256: --export conda")
    return {each["url"]: each["hash"]["md5"] for each in entries}
