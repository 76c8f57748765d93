"""Writes checkpoints in the background: training pauses for one copy of the state, never for the disk.

The training thread copies the state into memory that is kept for it, and a second thread hashes and writes the copy:
so whatever training does next, it never changes what is saved. At most one checkpoint is in flight: the next waits
until it has landed, so a slow disk slows training down instead of filling the memory. A failure is raised where its
result is collected, in the training thread: the run stops there.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.training.checkpoints.checkpoint import Tensors, write_checkpoint


class CheckpointWriter:
    """Writes into one folder. For one training thread: its methods are not to be called from several.

    Args:
        folder: where checkpoints go; what killed writes left in it is removed.
        aliases, before_name: see `write_checkpoint`; called in the background.
        after: called in the background when it has its name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        aliases: Mapping[str, str] = MappingProxyType({}),
        before_name: Callable[[Path, str], None] = lambda folder, name: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._after = folder, after
        self._write = partial(write_checkpoint, folder, aliases=aliases, before_name=before_name)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._flight: tuple[int, Future[str]] | None = None
        self._copies: dict[str, NDArray[Any]] = {}
        for left in folder.glob(".step-*"):
            shutil.rmtree(left, ignore_errors=True)

    @property
    def in_flight(self) -> bool:
        """Whether a checkpoint was submitted and not collected yet."""
        return self._flight is not None

    def submit(self, step: int, tensors: Tensors) -> None:
        """Start to write the state after `step` steps; the one before must have been collected.

        Args:
            step: finished steps.
            tensors: the state; copied before this returns.
        """
        if self._flight is not None:
            raise RuntimeError("a checkpoint is in flight: collect it first")
        self._copies = {name: _copied(tensor, self._copies.get(name)) for name, tensor in tensors.items()}
        self._flight = step, self._thread.submit(self._write_and_after, step)

    def collect(self, *, wait: bool) -> tuple[int, str] | None:
        """Finished steps and state digest of the checkpoint in flight, once it has landed; None where there is none.

        Args:
            wait: until it has landed; else None also while it is being written.

        Raises:
            StorageError: it could not be written; nothing half-written is left.
        """
        if self._flight is None or not (wait or self._flight[1].done()):
            return None
        (step, written), self._flight = self._flight, None
        return step, written.result()

    def close(self) -> None:
        """Wait for what is in flight, and end the thread."""
        self._thread.shutdown()

    def _write_and_after(self, step: int) -> str:
        digest = self._write(step, self._copies)
        self._after()
        return digest


def _copied(tensor: NDArray[Any], old: NDArray[Any] | None) -> NDArray[Any]:
    """A copy of `tensor`, in the memory of an old one where it fits: fresh memory costs more than the copy itself."""
    if old is None or (old.shape, old.dtype) != (tensor.shape, tensor.dtype):
        return np.array(tensor, order="C")
    np.copyto(old, tensor)
    return old
