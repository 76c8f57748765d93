"""What the training loop asks of a numeric framework.

The batch is cut into logical shards of one fixed shape. A backend computes each shard's sums alone and adds two shards'
sums when asked; the loop decides the order of addition. The division by the weight comes once, after the last addition,
since means of shards are wrong for masked, padded or variable-length records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.data.batches import Fields

Tensors = Mapping[str, NDArray[Any]]
"""Tensor name → array. A state's names: `model/<parameter>`, `buffer/<buffer>`, `optimizer/<moment>/<parameter>`,
`ema/<parameter>` and `step`."""

State = Any
"""A backend's training state: one immutable value that holds all that decides the next step, opaque to its caller."""

ShardSums = Any
"""A backend's sums over one or more shards (loss, weight, gradients, buffers), opaque to its caller."""

WEIGHT = "weight"
"""The field that says how much each record counts, float32 of shape (records,): 0 for one that only pads a shard. A
batch without it counts each record (or token) once."""


@dataclass(frozen=True, slots=True)
class ShardKey:
    """What a shard's randomness (dropout) is keyed by; a worker's number is never part of it."""

    seed: int
    step: int
    shard: int


@dataclass(frozen=True, slots=True)
class Loss:
    """Sum of losses, and the weight to divide it by: the number of records or tokens that count, or a float."""

    total: float
    weight: float

    @property
    def mean(self) -> float:
        """The sum over the weight; not a number where nothing counts."""
        return self.total / self.weight if self.weight else float("nan")


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says of a batch, without dropout.

    `losses` (sums that the weights are in already) and `weights` are float32 of one shape: a row a record for built-in
    models, one row for a user's model. `scores` float32 (records, classes) or (records, tokens, classes), and
    `labels` the classes that are right, of the same shape but the last axis; both None for a user's model.
    """

    losses: NDArray[np.float32]
    weights: NDArray[np.float32]
    scores: NDArray[np.float32] | None = None
    labels: NDArray[np.integer[Any]] | None = None


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


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a state is trained: everything of a backend that is not the model itself.

    Args:
        optimizer: the rule of the update.
        clip_norm: the gradient of the mean loss is scaled down to this global norm where it is longer; None: never.
        ema_decay: share of the averaged weights that is kept a step; None: no average is kept.
        precision: what matrix products and convolutions of built-in models take and give; see `models.Precision`.
    """

    optimizer: Optimizer
    clip_norm: float | None = None
    ema_decay: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"


class Backend(Protocol):
    """A numeric framework. Methods are pure: they return new values and change none of their arguments."""

    name: str
    version: str

    def prepare(self, switches: Mapping[str, str], threads: int) -> tuple[str, ...]:
        """Set the profile's in-process switches and check that the framework follows them all; let the process keep the
        memory that a step frees.

        Returns:
            Why equal bits cannot be promised with this build of the framework; nothing where they can.

        Raises:
            SystemFailureError: the framework reports something else than the profile asks for.
        """

    def operations(self, state: State, fields: Fields, key: ShardKey) -> frozenset[str]:
        """The framework's operations that one shard's sums take, forward and backward, by the framework's names and
        element types: `aten::mm float32`, `dot_general float32`."""

    def random_streams(self) -> dict[str, str]:
        """Every stream of random numbers that training draws from → what it is keyed by, in words for the record."""

    def aliases(self) -> dict[str, str]:
        """Parameter that the model has under a second name (tied weights) → the name that the state has it under."""

    def initial(self, seed: int) -> State:
        """The state before step 0: parameters and buffers drawn by the seed, optimizer tensors zero."""

    def shard_sums(self, state: State, fields: Fields, key: ShardKey) -> ShardSums:
        """Loss, weight and gradients of one shard, summed over its records. Several threads may call it."""

    def add(self, left: ShardSums, right: ShardSums) -> ShardSums:
        """Element by element, `left` + `right`, one rounding each.

        Raises:
            InputError: an integer buffer differs between the two, which no average could join.
        """

    def loss(self, sums: ShardSums) -> Loss:
        """The loss in `sums`; may wait for a device."""

    def gradient_sums(self, sums: ShardSums) -> dict[str, int]:
        """Parameter name → sum of its gradient's bit patterns read as signed 32-bit integers: exact in any order."""

    def sums_tensors(self, sums: ShardSums) -> dict[str, NDArray[Any]]:
        """`sums` as arrays, to be sent to another worker: `loss`, `weight`, `gradient` and `buffer/…`; read-only."""

    def load_sums(self, tensors: Tensors) -> ShardSums:
        """The sums whose arrays `sums_tensors` gave."""

    def is_finite(self, sums: ShardSums) -> bool:
        """Whether every number of the gradient is finite; may wait for a device."""

    def gradient_norms(self, sums: ShardSums) -> dict[str, float]:
        """Parameter name → Euclidean norm of its gradient of the mean loss, for people: what a failure record shows."""

    def apply(self, state: State, sums: ShardSums, rate: float) -> State:
        """The state one step later: gradients divided by the weight, then the optimizer with learning rate `rate`."""

    def predict(self, state: State, fields: Fields) -> Predictions:
        """What the model says of each record, without dropout; by the averaged weights where the recipe keeps them."""

    def export(self, state: State) -> dict[str, NDArray[Any]]:
        """Every tensor of the state, by name; nothing that decides the next step is left out. Read-only, not copied:
        a state never changes."""

    def load(self, tensors: Tensors) -> State:
        """The state whose tensors are these, bit for bit.

        Raises:
            InputError: a tensor is missing, unknown, or of another shape or element type.
        """
