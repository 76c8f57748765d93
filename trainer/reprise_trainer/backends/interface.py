"""What the training loop asks of a numeric framework.

The batch is cut into logical shards of one fixed shape. A backend computes each shard's sums alone and adds two shards'
sums when asked; the loop decides the order of addition. The division by the weight comes once, after the last addition,
since means of shards are wrong for masked or padded records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.data.batches import Fields

Tensors = Mapping[str, NDArray[Any]]
"""Tensor name → array. A state's names: `model/<parameter>`, `optimizer/<moment>/<parameter>`, and `step`."""

State = Any
"""A backend's training state: one immutable value (step, parameters, optimizer tensors), opaque to its caller."""

ShardSums = Any
"""A backend's sums over one or more shards (loss, weight, gradients), opaque to its caller."""


@dataclass(frozen=True, slots=True)
class ShardKey:
    """What a shard's randomness (dropout) is keyed by; a worker's number is never part of it."""

    seed: int
    step: int
    shard: int


@dataclass(frozen=True, slots=True)
class Loss:
    """Sum of the records' losses, and the weight to divide it by (the number of records that count)."""

    total: float
    weight: int

    @property
    def mean(self) -> float:
        return self.total / self.weight


@dataclass(frozen=True, slots=True)
class Predictions:
    """A model's outputs: `scores` float32 (records, classes), `losses` float32 (records,)."""

    scores: NDArray[np.float32]
    losses: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sgd:
    """Stochastic gradient descent with momentum: v = momentum * v + g + decay * p; p = p - rate * v."""

    momentum: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019)."""

    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float


Optimizer = Sgd | AdamW


class Backend(Protocol):
    """A numeric framework. Methods are pure: they return new values and change none of their arguments."""

    name: str
    version: str

    def prepare(self, switches: Mapping[str, str], threads: int) -> None:
        """Set the profile's in-process switches and check that the framework follows them all.

        Raises:
            SystemFailureError: the framework reports something else than the profile asks for.
        """

    def initial(self, values: Tensors) -> State:
        """The state before step 0: parameters (without the `model/` prefix) as given, optimizer tensors zero."""

    def shard_sums(self, state: State, fields: Fields, key: ShardKey) -> ShardSums:
        """Loss and gradients of one shard, summed over its records (weight: one each). Several threads may call it."""

    def add(self, left: ShardSums, right: ShardSums) -> ShardSums:
        """Element by element, `left` + `right`, one rounding each."""

    def loss(self, sums: ShardSums) -> Loss:
        """The loss in `sums`; may wait for a device."""

    def gradient_sums(self, sums: ShardSums) -> dict[str, int]:
        """Parameter name → sum of its gradient's bit patterns read as signed 32-bit integers: exact in any order."""

    def apply(self, state: State, sums: ShardSums, rate: float) -> State:
        """The state one step later: gradients divided by the weight, then the optimizer with learning rate `rate`."""

    def predict(self, state: State, fields: Fields) -> Predictions:
        """Scores and losses of each record, without dropout."""

    def export(self, state: State) -> dict[str, NDArray[Any]]:
        """Every tensor of the state, by name; nothing that decides the next step is left out."""

    def load(self, tensors: Tensors) -> State:
        """The state whose tensors are these, bit for bit.

        Raises:
            InputError: a tensor is missing, unknown, or of another shape or element type.
        """
