"""Layers in JAX with the project's rule of precision, and the image models made of them; pure, to be compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from reprise_trainer.backends.models import KERNEL, POOL, Cnn, Mlp, Precision, hidden_widths

_LAYOUT = ("NCHW", "OIHW", "NCHW")
"""Images (records, channels, height, width), kernels (out, in, height, width), as in every backend."""


def image_scores(
    model: Cnn | Mlp, values: Mapping[str, Array], images: Array, kept: Sequence[Array], *, precision: Precision
) -> Array:
    """Unnormalised class scores.

    Args:
        model: which model.
        values: parameter name → float32 array.
        images: uint8 (records, height, width).
        kept: for each hidden dense layer a bool array (records, width) of what dropout keeps; empty: no dropout.
        precision: of products.

    Returns:
        float32 (records, classes).
    """
    x = images[:, None].astype(jnp.float32) / 255.0 - 0.5
    if isinstance(model, Cnn):
        for number in range(1, len(model.channels) + 1):
            weight, bias = values[f"conv{number}.weight"], values[f"conv{number}.bias"]
            x = jax.nn.relu(_pooled(_convolved(x, weight, precision) + bias[:, None, None]))
    x = x.reshape(len(images), -1)
    layers = len(hidden_widths(model)) + 1
    for number in range(1, layers):
        x = jax.nn.relu(dense(x, values, f"dense{number}", precision))
        if kept:
            x = dropped(x, kept[number - 1], model.dropout)
    return dense(x, values, f"dense{layers}", precision)


def dense(x: Array, values: Mapping[str, Array], name: str, precision: Precision) -> Array:
    """`x` through the dense layer `name`: (…, in) → (…, out); a layer without a bias has none added."""
    y = narrowed(x, precision) @ narrowed(values[f"{name}.weight"], precision).T
    return y.astype(jnp.float32) + values.get(f"{name}.bias", 0.0)


def narrowed(x: Array, precision: Precision) -> Array:
    """What a product takes."""
    return x if precision == "float32" else x.astype(jnp.bfloat16)


def dropped(x: Array, kept: Array, dropout: float) -> Array:
    """`x` where `kept`, scaled so that its mean stays; else 0."""
    return x * kept * (1.0 / (1.0 - dropout))


def cross_entropies(scores: Array, labels: Array) -> Array:
    """Cross entropy of each label: float32 of the labels' shape, from scores (…, classes) and int32 labels (…)."""
    chosen = jnp.take_along_axis(scores, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(scores, axis=-1) - chosen


def _convolved(x: Array, weight: Array, precision: Precision) -> Array:
    padding = [(KERNEL // 2, KERNEL // 2)] * 2
    narrow = (narrowed(each, precision) for each in (x, weight))
    return lax.conv_general_dilated(*narrow, (1, 1), padding, dimension_numbers=_LAYOUT).astype(jnp.float32)


def _pooled(x: Array) -> Array:
    extent = (1, 1, POOL, POOL)
    return lax.reduce_window(x, -jnp.inf, lax.max, extent, extent, "VALID")
