"""The launch folder on the host: written for one run, private, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.durable import storage_error
from reprise_trainer.identity.launch import (
    BUNDLE_FILE,
    CODE_FILE,
    CONFIG_FILE,
    DELEGATION_FILE,
    LAUNCH_FILE,
    MORE_BUNDLES,
    POLICY_FILE,
    RUN_KEY_FILE,
    START_FOLDER,
    Launch,
    encode_launch,
)


@dataclass(frozen=True, slots=True)
class LaunchContents:
    """What a run is told: the launch itself, run.toml's bytes, the image's bundle, the delegation's bundle, the run's
    private key (PEM), the policy (TOML), further bundles about the image that the policy asks for, and the archive of
    the run's own code; `start` is the folder of the checkpoint that it starts from."""

    launch: Launch
    config: bytes
    image_bundle: bytes
    delegation: bytes
    run_key: bytes
    policy: bytes
    more_bundles: tuple[bytes, ...] = ()
    code: bytes | None = None
    start: Path | None = None


@contextmanager
def launch_folder(contents: LaunchContents, *, parent: Path | None = None) -> Iterator[Path]:
    """A folder (0700) with the launch's files, for as long as the block runs.

    Args:
        contents: what goes in.
        parent: where the folder is made; the system's folder for temporary files by default.

    Raises:
        StorageError: it can't be written.
    """
    files = {
        LAUNCH_FILE: encode_launch(contents.launch),
        CONFIG_FILE: contents.config,
        BUNDLE_FILE: contents.image_bundle,
        DELEGATION_FILE: contents.delegation,
        RUN_KEY_FILE: contents.run_key,
        POLICY_FILE: contents.policy,
    }
    if contents.code is not None:
        files[CODE_FILE] = contents.code
    for number, bundle in enumerate(contents.more_bundles, 1):
        files[MORE_BUNDLES.replace("*", f"{number:03d}")] = bundle
    try:
        folder = Path(tempfile.mkdtemp(prefix="reprise-launch-", dir=parent))
    except OSError as error:
        raise storage_error(error, parent or Path(tempfile.gettempdir())) from error
    try:
        for name, data in files.items():
            _write(folder / name, data, 0o400 if name == RUN_KEY_FILE else 0o444)
        if contents.start is not None:
            copy_start(contents.start, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_start(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint's folder into `folder`, under the name that the trainer and an audit look for.

    Raises:
        StorageError: it can't be written.
    """
    try:
        shutil.copytree(checkpoint, folder / START_FOLDER)
    except OSError as error:  # shutil.Error is one
        raise storage_error(error, folder / START_FOLDER) from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:
        raise storage_error(error, path) from error
