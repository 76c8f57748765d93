"""The built-in models' forward pass in JAX, as functions of named parameters; pure, to be compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from reprise_trainer.backends.models import KERNEL, POOL, Cnn, Model, hidden_widths

_LAYOUT = ("NCHW", "OIHW", "NCHW")
"""Images (records, channels, height, width), kernels (out, in, height, width), as in every backend."""


def scores(model: Model, values: Mapping[str, Array], images: Array, kept: Sequence[Array]) -> Array:
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
