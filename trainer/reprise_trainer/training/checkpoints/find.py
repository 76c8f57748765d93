"""Which checkpoint a path means: a checkpoint's own folder, or a run's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reprise_trainer.errors import DoesNotHoldError, NotFoundError, RepriseError
from reprise_trainer.training.checkpoints.checkpoint import Checkpoint, latest_good, read_checkpoint
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, DOCUMENT, TENSORS, checkpoint_folders


def find_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint that `path` means: its own folder, or the folder of a run, whose newest good one is taken.

    Raises:
        NotFoundError: neither.
        InputError, DoesNotHoldError: see `read_checkpoint`.
    """
    folders = folders_of(path)
    if folders == [path]:
        return read_checkpoint(path)
    found, passed_over = latest_good(folders[0].parent)
    if found is None:
        raise DoesNotHoldError(f"{path}: no checkpoint in it holds: {'; '.join(passed_over)}")
    return found


def folders_of(path: Path) -> list[Path]:
    """The checkpoints' folders that `path` means: itself, or all of a run, newest first.

    Raises:
        NotFoundError: there is none.
    """
    if (path / DOCUMENT).exists() or (path / TENSORS).exists():
        return [path]
    if found := checkpoint_folders(path / CHECKPOINTS) or checkpoint_folders(path):
        return found
    raise NotFoundError(
        f"{path}: neither a checkpoint nor a run with checkpoints",
        hint=f"A checkpoint is a folder with {DOCUMENT} and {TENSORS}; a run keeps its own under {CHECKPOINTS}/.",
    )


def verify_checkpoints(
    path: Path, check: Callable[[Path], None] = lambda folder: None
) -> tuple[list[tuple[int, str]], list[str]]:
    """(finished steps, state digest) of the checkpoints at `path` that hold (see `folders_of`), oldest first; and a
    message for each that doesn't. `check` is called with each folder, and raises where it does not hold either."""
    held: list[tuple[int, str]] = []
    damaged: list[str] = []
    for folder in reversed(folders_of(path)):
        try:
            found = read_checkpoint(folder)
            check(folder)
            held.append((found.step, found.digest))
        except RepriseError as error:
            damaged.append(error.message)
    return held, damaged
