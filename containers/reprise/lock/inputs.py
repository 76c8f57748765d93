"""The files that an environment's TOML names beside itself, and whether the lock was made from them as they are.

An audit reads a lock without them: what they said is in the lock.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from reprise.lock.environment import read_environment
from reprise.lock.model import CONDA_LOCK, Environment
from reprise_trainer.errors import InputError, NotFoundError


def input_file(environment: Environment) -> Path | None:
    """The specification or lock file that the conda part is read from; None where the TOML says it all."""
    conda = environment.conda
    named = (conda.specification or conda.lock) if conda else ""
    return Path(named) if named else None


def input_name(environment_path: Path, file: Path) -> str:
    """What a lock calls the file: its path relative to the environment file's folder."""
    return Path(os.path.relpath(file, environment_path.absolute().parent)).as_posix()


def input_hashes(data: bytes) -> dict[str, str]:
    """As conda-lock's `inputs_metadata` has them: its reader demands both."""
    return {"md5": hashlib.md5(data, usedforsecurity=False).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}


def expect_current_inputs(folder: Path, environment_path: Path) -> None:
    """Refuse a lock whose specification or lock file is another one than it was made from.

    Raises:
        InputError: the file has changed, or the lock says nothing of it.
        NotFoundError: it is not there.
    """
    file = input_file(environment := read_environment(environment_path))
    if file is None:
        return
    name, hint = input_name(environment_path, file), f"run `reprise lock {environment.name}`"
    document = json.loads((folder / CONDA_LOCK).read_bytes())
    recorded = (document["metadata"].get("inputs_metadata") or {}).get(name, {}).get("sha256")
    found = input_hashes(read_input(file, environment_path))["sha256"]
    if recorded != found:
        raise InputError(f"lock {folder} does not match {name}: made from sha256 {recorded}, now {found}", hint=hint)


def read_input(file: Path, environment_path: Path) -> bytes:
    """The bytes of a file that an environment names.

    Raises:
        NotFoundError: it is not there.
    """
    try:
        return file.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(
            f"{environment_path} names {file}, which is no file", hint="Paths are relative to the environment file."
        ) from error
