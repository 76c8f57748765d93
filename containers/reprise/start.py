"""The checkpoint that a configuration starts from: found, and named by its digests before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.start import StartSection
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, DOCUMENT, TENSORS, checkpoint_folders
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE


def find_start(section: StartSection, base: Path, *, where: str) -> tuple[Path, dict[str, str]]:
    """The folder of the checkpoint to start from, and what the configuration is to say of it: key → digest.

    Its tensors are compared with its digest by the trainer, which refuses when they are others.

    Args:
        section: the configuration's.
        base: folder that its path is relative to.
        where: the configuration's name, for messages.

    Raises:
        NotFoundError: there is no such checkpoint.
        InputError: it is not one, or it is another than the configuration pins.
    """
    path = base / section.checkpoint
    folder = next(iter([] if (path / DOCUMENT).exists() else checkpoint_folders(path / CHECKPOINTS)), path)
    for name in (DOCUMENT, TENSORS):
        if not (folder / name).is_file():
            raise NotFoundError(f"{where}: start.checkpoint: {folder} has no {name}: neither a checkpoint nor a run")
    try:
        state = str(json.loads((folder / DOCUMENT).read_bytes())["state"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / DOCUMENT}: not a checkpoint's document: {error}") from error
    found = {"state": state}
    record = folder.parent.parent / RECORD_FILE
    if record.is_file():
        found["record"] = sha256_digest(record.read_bytes())
    for key, value in found.items():
        pinned = getattr(section, key)
        if pinned not in ("", value):
            raise InputError(f"{where}: start.{key} is {pinned}, the checkpoint in {folder} has {value}")
    return folder, {key: value for key, value in found.items() if not getattr(section, key)}
