"""The GPT in JAX, as a function of named parameters; pure, to be compiled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from reprise_trainer.backends.jax_layers import dense, dropped, narrowed
from reprise_trainer.backends.models import Gpt, Precision


def gpt_scores(
    model: Gpt, values: Mapping[str, Array], tokens: Array, kept: Sequence[Array], *, precision: Precision
) -> Array:
    """Unnormalised scores of the token that follows each: see `torch_gpt.gpt_scores`; tokens are int32."""
    x = values["token.weight"][tokens] + values["position.weight"]
    if kept:
        x = dropped(x, kept[0], model.dropout)
    for number in range(1, model.layers + 1):
        block = partial(_block, model, number, precision)
        own = {name: value for name, value in values.items() if name.startswith(f"block{number}.")}
        x = (jax.checkpoint(block) if model.recompute else block)(own, x, kept[2 * number - 1 : 2 * number + 1])
    head = values["token.weight" if model.tied else "head.weight"]
    return dense(_normalised(x, values, "norm"), {"head.weight": head}, "head", precision)


def _block(
    model: Gpt, number: int, precision: Precision, values: Mapping[str, Array], x: Array, kept: Sequence[Array]
) -> Array:
    name = f"block{number}"
    joined = dense(_normalised(x, values, f"{name}.norm1"), values, f"{name}.attention", precision)
    y = dense(_attended(model, joined, precision), values, f"{name}.projection", precision)
    x = x + (dropped(y, kept[0], model.dropout) if len(kept) else y)
    y = dense(_normalised(x, values, f"{name}.norm2"), values, f"{name}.expand", precision)
    y = jax.nn.gelu(y, approximate=False)
    y = dense(y, values, f"{name}.contract", precision)
    return x + (dropped(y, kept[1], model.dropout) if len(kept) else y)


def _attended(model: Gpt, joined: Array, precision: Precision) -> Array:
    """Causal attention: queries, keys and values side by side (records, block, 3 * width) → (records, block, width)."""
    records, block, _ = joined.shape
    parts = narrowed(joined, precision).reshape(records, block, 3, model.heads, -1)
    query, key, value = (parts[:, :, index] for index in range(3))  # each (records, block, heads, width of a head)
    scores = jnp.einsum("rqhw,rkhw->rhqk", query, key).astype(jnp.float32) / math.sqrt(query.shape[-1])
    scores = jnp.where(jnp.tril(jnp.ones((block, block), bool)), scores, -jnp.inf)
    y = jnp.einsum("rhqk,rkhw->rqhw", narrowed(jax.nn.softmax(scores), precision), value)
    return y.reshape(records, block, model.width).astype(jnp.float32)


def _normalised(x: Array, values: Mapping[str, Array], name: str) -> Array:
    """Layer normalisation with PyTorch's epsilon."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-5) * values[f"{name}.weight"] + values[f"{name}.bias"]
