"""What the ledger says about a step, read from its sums: late, so that a device never waits for its reader."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reprise_trainer.backends.interface import Backend, ShardSums
from reprise_trainer.errors import InputError
from reprise_trainer.training.ledger import gradient_digest


@dataclass(frozen=True, slots=True)
class StepFacts:
    """A step's number, its mean loss, and its batch's and its gradient's digests (bare hex)."""

    number: int
    loss: float
    batch: str
    gradient: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A step that was dispatched: its number, its batch's digest, and the sums that are still to be read."""

    number: int
    batch: str
    backend: Backend
    sums: ShardSums

    def read(self) -> StepFacts:
        """The step's facts; waits for the device.

        Raises:
            InputError: the loss is not a finite number any more.
        """
        loss = self.backend.loss(self.sums).mean
        if not math.isfinite(loss):
            raise InputError(
                f"step {self.number}: the loss is {loss}", hint="A smaller learning rate (lr) often helps."
            )
        return StepFacts(self.number, loss, self.batch, gradient_digest(self.backend.gradient_sums(self.sums)))
