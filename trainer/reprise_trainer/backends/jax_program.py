"""What `JaxBackend` asks of a model, built in or a user's, and how a loss function becomes a compiled gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from reprise_trainer.backends.interface import Predictions, ShardKey, Tensors
from reprise_trainer.backends.layout import Layout
from reprise_trainer.data.batches import Fields

Values = Mapping[str, Array]
"""Parameter or buffer name → array."""


@dataclass(frozen=True, slots=True)
class JaxSums:
    """Sums over the records of one or more shards: scalar `loss`, `weight`, the flat `gradient`; and the shards' mean
    `buffers`."""

    loss: Array
    weight: int | Array
    gradient: Array
    buffers: Values


class JaxProgram(Protocol):
    """A model with its loss."""

    layout: Layout
    buffers: Tensors
    """Buffers as the model is made, for their shapes and element types."""

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """Parameters and buffers before step 0, drawn by the seed alone."""

    def shard(self, vector: Array, buffers: Values, fields: Fields, key: ShardKey) -> JaxSums:
        """Loss, weight and gradients of one shard; `vector` holds the parameters by the layout."""

    def predict(self, vector: Array, buffers: Values, fields: Fields) -> Predictions:
        """See `Backend.predict`."""

    def random_streams(self) -> dict[str, str]:
        """See `Backend.random_streams`."""

    def aliases(self) -> dict[str, str]:
        """See `Backend.aliases`."""


Compiled = Callable[..., tuple[Array, Any, Array]]


def compiled_gradient(layout: Layout, loss: Callable[..., tuple[Array, Any]]) -> Compiled:
    """One program for a shard: (vector, *inputs) → (loss, what else `loss` returned, flat gradient).

    `loss` takes parameters by name and the inputs. The gradients of the parts are laid side by side explicitly: that
    of a slice would be a sum of as many whole vectors as there are parameters.
    """

    def program(vector: Array, *inputs: Any) -> tuple[Array, Any, Array]:
        values = layout.views(vector)
        (total, rest), gradients = jax.value_and_grad(loss, has_aux=True)(values, *inputs)
        return total, rest, _laid_out(layout, gradients)

    compiled: Compiled = jax.jit(program)
    return compiled


def _laid_out(layout: Layout, values: Values) -> Array:
    parts: list[Array] = []
    for place, gap in zip(layout.places, layout.gaps, strict=True):
        parts.append(values[place.name].reshape(-1))
        if gap:
            parts.append(jnp.zeros(gap, jnp.float32))
    return jnp.concatenate(parts)
