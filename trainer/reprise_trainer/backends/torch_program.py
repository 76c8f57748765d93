"""What `TorchBackend` asks of a model, built in or a user's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from reprise_trainer.backends.interface import Predictions, ShardKey, Tensors
from reprise_trainer.backends.layout import Layout
from reprise_trainer.data.batches import Fields

Values = Mapping[str, Tensor]
"""Parameter or buffer name → tensor; nothing in it is ever changed."""


@dataclass(frozen=True, slots=True)
class ShardResult:
    """One shard: sum of losses (scalar), weight, gradients in the layout's order, and buffers after it."""

    loss: Tensor
    weight: int | Tensor
    gradients: tuple[Tensor, ...]
    buffers: Values


class TorchProgram(Protocol):
    """A model with its loss."""

    layout: Layout
    buffers: Tensors
    """Buffers as the model is made, for their shapes and element types."""

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """Parameters and buffers before step 0, drawn by the seed alone."""

    def shard(self, values: Values, buffers: Values, fields: Fields, key: ShardKey) -> ShardResult:
        """Loss, weight and gradients of one shard."""

    def predict(self, values: Values, buffers: Values, fields: Fields) -> Predictions:
        """See `Backend.predict`."""

    def random_streams(self) -> dict[str, str]:
        """See `Backend.random_streams`."""

    def aliases(self) -> dict[str, str]:
        """See `Backend.aliases`."""
