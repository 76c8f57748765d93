"""The checkpoint that a configuration starts from: found, and named by its digests before anything runs."""

from __future__ import annotations

from pathlib import Path

from reprise.checkpoints import find_checkpoint, stored_checkpoint
from reprise.store import Store
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.config.start import StartSection
from reprise_trainer.errors import InputError


def is_stored(section: StartSection) -> bool:
    """Whether the checkpoint is named by the digest of its artifact in a store, and not by a folder."""
    return bool(DIGEST_PATTERN.match(section.checkpoint))


def find_start(section: StartSection, base: Path, store: Store | None, *, where: str) -> tuple[Path, dict[str, str]]:
    """The folder of the checkpoint to start from, and what the configuration is to say of it: key → digest.

    Its tensors are compared with its digest by the trainer, which refuses when they are others.

    Args:
        section: the configuration's.
        base: folder that its path is relative to.
        store: where it is, when the section names a digest (`is_stored`); else it is not asked.
        where: the configuration's name, for messages.

    Raises:
        NotFoundError: there is no such checkpoint.
        InputError: it is not one, is damaged in the store, or is another than the configuration pins.
        StorageError: the store's cache can't be written.
    """
    if is_stored(section):
        assert store is not None, "a checkpoint that is named by its digest is looked for in a store"
        found = stored_checkpoint(section.checkpoint, store)
    else:
        found = find_checkpoint(base / section.checkpoint, where=f"{where}: start.checkpoint")
    digests = {"state": found.state, **({"record": found.record} if found.record else {})}
    for key, value in digests.items():
        pinned = getattr(section, key)
        if pinned not in ("", value):
            raise InputError(f"{where}: start.{key} is {pinned}, the checkpoint in {found.folder} has {value}")
    return found.folder, {key: value for key, value in digests.items() if not getattr(section, key)}
