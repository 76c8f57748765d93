"""A run's folder on the host: made for a new run, or found as an earlier attempt of the run has left it.

Launch, configuration and the run's own code are written before the first step, so that a run that was killed can go on
by its folder alone.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from reprise.engine.launch import LaunchContents, copy_start
from reprise.run_config import LoadedConfig, load_config
from reprise.store import Store
from reprise_trainer.config.overrides import Override
from reprise_trainer.config.read import read_config
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError, NotFoundError, UsageError
from reprise_trainer.identity.launch import (
    CODE_FILE,
    CONFIG_FILE,
    LAUNCH_FILE,
    START_FOLDER,
    decode_launch,
    encode_launch,
)


@dataclass(frozen=True, slots=True)
class BegunRun:
    """A run that has begun in `folder`: its configuration's bytes, the archive of its own code and the folder of the
    checkpoint that it starts from (if any), its id, and the digests of its image and snapshot."""

    folder: Path
    config: bytes
    code: bytes | None
    start: Path | None
    run: str
    image: str
    snapshot: str


def load_run(
    config: Path | None, overrides: Sequence[Override], resume: Path | None, store: Store
) -> tuple[LoadedConfig, BegunRun | None]:
    """The configuration of a run that starts or goes on, and the run that has begun in `resume`.

    `store` is where a checkpoint to start from is looked for, when the configuration names it by its digest; it need
    not be there otherwise.

    Raises:
        NotFoundError: there is no such file or checkpoint, or no run in `resume` and no configuration to start one.
        InputError: the configuration does not fit, or is another than that of the run that has begun.
        UsageError: neither is named, or there are overrides for a run that goes on.
    """
    if config is None:
        if resume is None:
            raise UsageError("nothing says what to run", hint="Name a configuration, or with --resume a run's folder.")
        if overrides:
            raise UsageError("a run that goes on keeps its configuration", hint="Leave --set away.")
        begun = _require_begun(resume)
        parsed = read_config(begun.config, where=str(begun.folder / CONFIG_FILE))
        return LoadedConfig(begun.config, parsed, begun.code, begun.start), begun
    loaded = load_config(config, overrides, store)
    found = _find_begun(resume) if resume else None
    if found and found.config != loaded.data:
        raise InputError(
            f"{config} is another configuration than that of run {found.run}",
            hint=f"Leave it away to go on with {found.folder / CONFIG_FILE}, or start a new run with --output.",
        )
    return loaded, found


def _find_begun(folder: Path) -> BegunRun | None:
    """The run that has begun in `folder`; None where the folder is missing or empty.

    Raises:
        InputError: it holds something else.
    """
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
        config, launch = (folder / CONFIG_FILE).read_bytes(), decode_launch((folder / LAUNCH_FILE).read_bytes())
        code = (folder / CODE_FILE).read_bytes() if (folder / CODE_FILE).exists() else None
        start = folder.resolve() / START_FOLDER if (folder / START_FOLDER).is_dir() else None
    except FileNotFoundError as error:
        raise InputError(
            f"{folder} is not the folder of a run: it has no {Path(error.filename).name}",
            hint="Name the folder that the run was started with (runs/NAME-TIME by default).",
        ) from error
    except OSError as error:
        raise NotFoundError(f"cannot read {folder}: {error.strerror}") from error
    return BegunRun(folder.resolve(), config, code, start, launch.run, launch.image, launch.snapshot)


def _require_begun(folder: Path) -> BegunRun:
    """The run that has begun in `folder`.

    Raises:
        NotFoundError: there is none.
        InputError: the folder holds something else.
    """
    begun = _find_begun(folder)
    if begun is None:
        raise NotFoundError(
            f"there is no run in {folder}", hint="Name the run's configuration too, and it starts there."
        )
    return begun


def new_run_id(name: str) -> str:
    """An id for a new run of that name: the time, for people, and a random part."""
    return f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def make_run_folder(folder: Path, contents: LaunchContents) -> Path:
    """Make the folder of a new run, with what is needed to go on with it: launch, configuration, code, the checkpoint
    to start from. Its whole path.

    Raises:
        InputError: there is something in it.
        StorageError: it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(
                f"the output folder {folder} is not empty",
                hint="Name a new folder with --output; or go on with the run in it: --resume.",
            )
    except OSError as error:
        raise storage_error(error, folder) from error
    write_durably(folder / CONFIG_FILE, contents.config)
    if contents.code is not None:
        write_durably(folder / CODE_FILE, contents.code)
    if contents.start is not None:
        copy_start(contents.start, folder)
    write_durably(folder / LAUNCH_FILE, encode_launch(contents.launch))
    return folder.resolve()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no two attempts work in it.

    Raises:
        InputError: another process holds it.
    """
    descriptor = os.open(folder / LAUNCH_FILE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InputError(f"the run in {folder} is going on already, in another process") from error
    finally:
        os.close(descriptor)
