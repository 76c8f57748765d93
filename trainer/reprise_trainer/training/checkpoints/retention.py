"""Which checkpoints of a run are kept: the newest, every so many steps, the best, and those that a person pinned.

A removed checkpoint stays in the ledger and in the run record, by its digest: a replay gives it back.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise_trainer.config.checkpoint import BestBy
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import NotFoundError
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint
from reprise_trainer.training.checkpoints.names import checkpoint_folders, checkpoint_name, checkpoint_step

PIN = ".pin"
"""Added to a checkpoint's name: a file that keeps it. It holds the reason, for people."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How many of the newest are kept (None: all), and beside them those after a multiple of `every` steps, and the
    `best` ones with the lowest loss; `metric` says which loss."""

    last: int | None = None
    every: int | None = None
    best: int = 0
    metric: BestBy = "loss"

    def removable(self, steps: Iterable[int], losses: Mapping[int, float], pinned: Collection[int]) -> tuple[int, ...]:
        """The checkpoints, of those after `steps` finished steps, that are not kept. The newest always is.

        Args:
            steps: finished steps of each checkpoint that there is.
            losses: finished steps → loss, see `BestLosses`; of two equal ones the older is better.
            pinned: steps that a person pinned.
        """
        newest = sorted(steps, reverse=True)
        if self.last is None:
            return ()
        best = sorted((losses[step], step) for step in newest if step in losses)[: self.best]
        kept = {*newest[: self.last], *(step for _, step in best), *pinned}
        return tuple(
            step for step in sorted(newest) if step not in kept and (self.every is None or step % self.every != 0)
        )


class BestLosses:
    """What checkpoints are ranked by, as the ledger's lines tell it: finished steps → loss.

    By `loss` it is the mean of the steps since the checkpoint before; by `validation` the loss of the validation after
    the checkpoint's own last step. A checkpoint without one, or whose loss is not finite, has none and is never best.
    """

    def __init__(self, metric: BestBy, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        self.of: dict[int, float] = {}
        self._metric = metric
        self._since: list[float] = []
        self._validation: float | None = None
        for line in lines:
            if "step" in line:
                validation = line.get("validation")
                self.add(float.fromhex(line["loss"]), None if validation is None else float.fromhex(validation))
            else:
                self.end(line["checkpoint"])

    def add(self, loss: float, validation: float | None = None) -> None:
        """Take a step's loss, and that of the validation after it, if there was one."""
        self._since.append(loss)
        self._validation = validation

    def end(self, done: int) -> None:
        """A checkpoint stands after `done` steps."""
        if not self._since:
            return
        mean = math.fsum(self._since) / len(self._since)
        found = mean if self._metric == "loss" else self._validation
        if found is not None and math.isfinite(found):
            self.of[done] = found
        self._since = []


def remove_old(folder: Path, rule: Retention, losses: Mapping[int, float]) -> None:
    """Remove the checkpoints in `folder` that `rule` does not keep, once the newest was read back and holds.

    Raises:
        InputError, DoesNotHoldError: the newest is damaged already; nothing was removed.
        StorageError: one can't be removed.
    """
    found = checkpoint_folders(folder)
    old = rule.removable(map(checkpoint_step, found), losses, pins(folder))
    if not old:
        return
    read_checkpoint(found[0])
    for step in old:
        remove_checkpoint(folder / checkpoint_name(step))


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint: its name goes first, so that a crash never leaves a part of it under its name.

    Raises:
        StorageError: it can't be removed.
    """
    aside = path.with_name(f".{path.name}.removed")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise storage_error(error, path) from error


def pins(folder: Path) -> dict[int, str]:
    """Pinned checkpoints in `folder`: finished steps → reason."""
    found = ((path, path.with_name(path.name + PIN)) for path in checkpoint_folders(folder))
    return {checkpoint_step(path): pin.read_text(errors="replace").strip() for path, pin in found if pin.exists()}


def pin(path: Path, reason: str) -> None:
    """Keep the checkpoint in the folder `path`, whatever the run's rule says, once it was read and holds.

    Raises:
        InputError, DoesNotHoldError: it is damaged.
        StorageError: the pin can't be written.
    """
    read_checkpoint(path)
    write_durably(path.with_name(path.name + PIN), f"{reason}\n".encode())


def unpin(path: Path) -> None:
    """Leave the checkpoint in the folder `path` to the run's rule again.

    Raises:
        NotFoundError: it is not pinned.
    """
    try:
        path.with_name(path.name + PIN).unlink()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: not pinned") from error
