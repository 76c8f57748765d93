"""What the ledger says about a step, read from its sums: late, so that a device never waits for its reader."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reprise_trainer.backends.interface import Backend, ShardSums, State, Tensors
from reprise_trainer.data.order import Indices
from reprise_trainer.errors import InputError
from reprise_trainer.training.ledger import gradient_digest


class NotFiniteError(InputError):
    """A step's loss or gradient, or a weight after it, is not finite, as `what` says; `reading` is that step."""

    def __init__(self, reading: Reading, what: str, *, see: str = "") -> None:
        super().__init__(
            f"step {reading.number}: {what}{see}", hint="A smaller learning rate (lr) or clip_norm often helps."
        )
        self.reading = reading
        self.what = what


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A step's number, its mean loss, and its batch's and its gradient's digests (bare hex), and the mean loss of
    the validation after it, if there is one."""

    number: int
    loss: float
    batch: str
    gradient: str
    validation: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A step that was dispatched: its number, its batch's digest, and the sums that are still to be read; the batch's
    records and the state before it, for the record of a failure; and the mean loss of the validation after it, if there
    is one."""

    number: int
    batch: str
    backend: Backend
    sums: ShardSums
    records: Indices | None = None
    before: State = None
    validation: float | None = None

    def read(self) -> StepFacts:
        """The step's facts; waits for the device.

        Raises:
            NotFiniteError: the loss or the gradient is not finite any more.
        """
        loss = self.backend.loss(self.sums).mean
        if not math.isfinite(loss):
            raise NotFiniteError(self, f"the loss is {loss}")
        if not self.backend.is_finite(self.sums):
            raise NotFiniteError(self, "the gradient is not finite")
        gradient = gradient_digest(self.backend.gradient_sums(self.sums))
        return StepFacts(self.number, loss, self.batch, gradient, self.validation)

    def require_finite(self, after: Tensors) -> None:
        """Look at the weights that the step has left; before a next step, whose loss would tell, nobody else does.

        Args:
            after: the state's tensors after the step.

        Raises:
            NotFiniteError: a weight, or its average, is not finite any more.
        """
        if name := not_finite(after):
            raise NotFiniteError(self, f"{name} is not finite after it")


def not_finite(tensors: Tensors) -> str | None:
    """The first of a state's weights and their averages that is not finite; None where all are."""
    names = (name for name in sorted(tensors) if name.startswith(("model/", "ema/")))
    return next((name for name in names if not np.isfinite(tensors[name]).all()), None)
