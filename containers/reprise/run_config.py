"""The configuration that a run gets: the file's text, with what the command line sets in it, and the code it names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from reprise.image.source import source_archive
from reprise.start import find_start, is_stored
from reprise.store import Store
from reprise_trainer.config.code import CodeSection
from reprise_trainer.config.data import OwnDataSection
from reprise_trainer.config.overrides import Override, apply_overrides
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.errors import InputError, NotFoundError


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration's effective bytes and what they say; `code` is the archive of the run's own code, `start` the
    folder of the checkpoint that it starts from, if any."""

    data: bytes
    config: RunConfig
    code: bytes | None = None
    start: Path | None = None


def load_config(path: Path, overrides: Sequence[Override] = (), store: Store | None = None) -> LoadedConfig:
    """Read a configuration, and the folder of code and the checkpoint that it names.

    Overrides change the file's text and leave its comments and order, since a run records the text that was effective.
    Digests of code and checkpoint are written there too, so that whatever names the configuration names those.
    Values of this process's secret variables are refused here, where a configuration comes from its writer: what a
    record holds is read elsewhere, and whether it is read must not depend on who reads it.

    Args:
        path: the configuration's file.
        overrides: values that stand before the file's.
        store: where a checkpoint is looked for that is named by its digest. None for those who only read what the
            configuration says: such a checkpoint is not found then, and its digests are not written.

    Raises:
        NotFoundError: there is no such file, folder or checkpoint.
        InputError: it does not fit; each problem is named with its key. Or the code is not what the file pins.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot read the configuration {path}: {error.strerror}") from error
    where, changes = str(path), list(overrides)
    config, code = read_config(data, where=where, overrides=changes, environment=os.environ), None
    if config.code is not None:
        code, pins = _archived(config.code, path.parent, f"{where}: code", "code")
        changes += pins
    if isinstance(config.data, OwnDataSection):
        changes += _archived(config.data.code, path.parent, f"{where}: data.code", "data.code")[1]
    start = None
    if config.start is not None and (store or not is_stored(config.start)):
        start, digests = find_start(config.start, path.parent, store, where=where)
        changes += [Override(f"start.{key}", value) for key, value in digests.items()]
    if changes:
        document = tomlkit.parse(data.decode())
        apply_overrides(document, changes)
        data = tomlkit.dumps(document).encode()
        config = read_config(data, where=where, environment=os.environ)
    return LoadedConfig(data, config, code, start)


def _archived(code: CodeSection, base: Path, where: str, key: str) -> tuple[bytes, list[Override]]:
    """The archive of a folder of code, and what pins it where the configuration does not.

    Raises:
        NotFoundError: there is no such folder.
        InputError: it is not what the configuration pins.
    """
    archive = source_archive(base / code.folder)
    found = hashlib.sha256(archive).hexdigest()
    if code.sha256 not in ("", found):
        raise InputError(f"{where}.sha256 is {code.sha256}, the folder {code.folder!r} has {found}")
    return archive, [] if code.sha256 else [Override(f"{key}.sha256", found)]
