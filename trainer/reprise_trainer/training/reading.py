"""What the ledger says about a step, read from its sums: late, so that a device never waits for its reader."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reprise_trainer.backends.interface import Backend, ShardSums, State
from reprise_trainer.data.order import Indices
from reprise_trainer.errors import InputError
from reprise_trainer.training.ledger import gradient_digest


class NotFiniteError(InputError):
    """A step's loss or gradient is not finite; `reading` is that step."""

    def __init__(self, reading: Reading, loss: float, *, see: str = "") -> None:
        what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient is not finite"
        super().__init__(
            f"step {reading.number}: {what}{see}", hint="A smaller learning rate (lr) or clip_norm often helps."
        )
        self.reading = reading
        self.loss = loss


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
        if not math.isfinite(loss) or not self.backend.is_finite(self.sums):
            raise NotFiniteError(self, loss)
        gradient = gradient_digest(self.backend.gradient_sums(self.sums))
        return StepFacts(self.number, loss, self.batch, gradient, self.validation)
