"""The built-in models in JAX, as functions of named parameters; pure, to be compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from reprise_trainer.backends.interface import WEIGHT, Predictions, ShardKey, Tensors
from reprise_trainer.backends.jax_program import JaxSums, Values, compiled_gradient
from reprise_trainer.backends.layout import Layout, layout_of
from reprise_trainer.backends.models import (
    KERNEL,
    POOL,
    BuiltIn,
    Cnn,
    hidden_widths,
    initial_values,
    kept_by_dropout,
    parameters,
    random_streams,
)
from reprise_trainer.data.batches import Fields

_LAYOUT = ("NCHW", "OIHW", "NCHW")
"""Images (records, channels, height, width), kernels (out, in, height, width), as in every backend."""


class BuiltInProgram:
    """See `JaxProgram`."""

    def __init__(self, model: BuiltIn) -> None:
        self._model = model
        self.layout = layout_of({each.name: each.shape for each in parameters(model)})
        self.buffers: Tensors = {}
        self._gradient = compiled_gradient(self.layout, partial(_total_loss, model))
        self._predict = jax.jit(partial(_predictions, model, self.layout))

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """See `JaxProgram.initial`."""
        return initial_values(self._model, seed), {}

    def shard(self, vector: Array, buffers: Values, fields: Fields, key: ShardKey) -> JaxSums:
        """See `JaxProgram.shard`."""
        images, labels = _arrays(fields)
        kept = []
        if self._model.dropout > 0:
            layers = range(1, len(hidden_widths(self._model)) + 1)
            kept = [kept_by_dropout(self._model, key, layer, len(labels)) for layer in layers]
        weights = fields.get(WEIGHT)
        loss, weight, gradient = self._gradient(vector, images, labels, kept, weights)
        return JaxSums(loss, len(labels) if weights is None else weight, gradient, {})

    def predict(self, vector: Array, buffers: Values, fields: Fields) -> Predictions:
        """See `JaxProgram.predict`."""
        images, labels = _arrays(fields)
        result, losses = self._predict(vector, images, labels)
        weights = np.asarray(fields.get(WEIGHT, np.ones(len(labels))), np.float32)
        return Predictions(np.asarray(losses) * weights, weights, np.asarray(result), labels)

    def random_streams(self) -> dict[str, str]:
        """See `JaxProgram.random_streams`."""
        return random_streams(self._model)


def scores(model: BuiltIn, values: Mapping[str, Array], images: Array, kept: Sequence[Array]) -> Array:
    """Unnormalised class scores.

    Args:
        model: which model.
        values: parameter name → float32 array.
        images: uint8 (records, height, width).
        kept: for each hidden dense layer a bool array (records, width) of what dropout keeps; empty: no dropout.

    Returns:
        float32 (records, classes).
    """
    x = images[:, None].astype(jnp.float32) / 255.0 - 0.5
    if isinstance(model, Cnn):
        for number in range(1, len(model.channels) + 1):
            x = _pooled(_convolved(x, values[f"conv{number}.weight"]) + values[f"conv{number}.bias"][:, None, None])
            x = jax.nn.relu(x)
    x = x.reshape(len(images), -1)
    layers = len(hidden_widths(model)) + 1
    for number in range(1, layers):
        x = jax.nn.relu(_dense(x, values, number))
        if kept:
            x = x * kept[number - 1] * (1.0 / (1.0 - model.dropout))
    return _dense(x, values, layers)


def record_losses(scores: Array, labels: Array) -> Array:
    """Cross entropy of each record: float32 (records,), from scores (records, classes) and int32 labels."""
    chosen = jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(scores, axis=1) - chosen


def _convolved(x: Array, weight: Array) -> Array:
    padding = [(KERNEL // 2, KERNEL // 2)] * 2
    return lax.conv_general_dilated(x, weight, (1, 1), padding, dimension_numbers=_LAYOUT)


def _pooled(x: Array) -> Array:
    extent = (1, 1, POOL, POOL)
    return lax.reduce_window(x, -jnp.inf, lax.max, extent, extent, "VALID")


def _dense(x: Array, values: Mapping[str, Array], number: int) -> Array:
    return x @ values[f"dense{number}.weight"].T + values[f"dense{number}.bias"]


def _total_loss(
    model: BuiltIn, values: Values, images: Array, labels: Array, kept: list[Array], weights: Array | None
) -> tuple[Array, Array | None]:
    losses = record_losses(scores(model, values, images, kept), labels)
    if weights is None:
        return losses.sum(), None
    return (losses * weights).sum(), weights.sum()


def _predictions(model: BuiltIn, layout: Layout, vector: Array, images: Array, labels: Array) -> tuple[Array, Array]:
    result = scores(model, layout.views(vector), images, ())
    return result, record_losses(result, labels)


def _arrays(fields: Fields) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images uint8 (records, height, width) and labels int32 (records,)."""
    return np.ascontiguousarray(fields["image"]), fields["label"].astype(np.int32)
