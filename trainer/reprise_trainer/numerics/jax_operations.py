"""The operation table's JAX side: the operations of `torch_operations` that JAX's models use, forward and backward.

Entries are outputs of one compiled program, since compiling each alone would take longer; the optimizers' are programs
of their own, as they are in training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from reprise_trainer.backends.interface import Recipe
from reprise_trainer.backends.jax_trace import primitives_of
from reprise_trainer.backends.jax_update import next_state
from reprise_trainer.backends.state_tensors import TrainingState, moments_of
from reprise_trainer.numerics.inputs import RECIPES, indices, kept, positive, spread

_SHAPE = (37, 131)
_IMAGES = ("NCHW", "OIHW", "NCHW")

Entry = tuple[Callable[..., Array], tuple[NDArray[Any], ...]]
"""A function, and the inputs that it is called with; float32 ones get a gradient."""


def compute() -> dict[str, list[NDArray[Any]]]:
    """The results of every entry, by name: its output, then the gradients of its inputs."""
    compiled = {name: [np.asarray(each) for each in found] for name, found in _program_results().items()}
    updates = {name: _update(recipe) for name, recipe in RECIPES.items()}
    return {**compiled, **updates, **compute_quickly()}


def compute_quickly() -> dict[str, list[NDArray[Any]]]:
    """The results of the quick entries: forward alone, in one small program, since compiling takes the time."""
    inputs = {name: _COMPILED[name][1] for name in _QUICK}

    def program(given: Mapping[str, tuple[Array, ...]]) -> dict[str, Array]:
        return {name: _COMPILED[name][0](*given[name]) for name in _QUICK}

    return {f"quick {name}": [np.asarray(result)] for name, result in jax.jit(program)(inputs).items()}


def primitives(leave_out: Collection[str] = ()) -> frozenset[str]:
    """JAX's primitives that the entries are made of, but for the entries left out."""
    found: set[str] = set()
    for name, (function, inputs) in _COMPILED.items():
        if name not in leave_out:
            found |= primitives_of(partial(_both, function), _incoming(function, inputs), *inputs)
    return frozenset(found)


def _program_results() -> Mapping[str, tuple[Array, ...]]:
    # Inputs and incoming gradients are arguments: what XLA takes for constants it computes while compiling, by other
    # code than the machine's.
    given = {name: (_incoming(function, inputs), *inputs) for name, (function, inputs) in _COMPILED.items()}

    def program(given: Mapping[str, tuple[Array, ...]]) -> dict[str, tuple[Array, ...]]:
        return {name: _both(_COMPILED[name][0], *arrays) for name, arrays in given.items()}

    results: Mapping[str, tuple[Array, ...]] = jax.jit(program)(given)
    return results


def _incoming(function: Callable[..., Array], inputs: tuple[NDArray[Any], ...]) -> NDArray[np.float32]:
    """A fixed gradient of the output's shape."""
    return spread("incoming", *jax.eval_shape(function, *inputs).shape, bound=1.0)


def _both(function: Callable[..., Array], incoming: Array, *inputs: Array) -> tuple[Array, ...]:
    """Output and gradients of `function`; float32 inputs get a gradient."""
    floats = [place for place, each in enumerate(inputs) if jnp.issubdtype(each.dtype, jnp.floating)]

    def of_floats(*values: Array) -> Array:
        given = dict(zip(floats, values, strict=True))
        return function(*(given.get(place, each) for place, each in enumerate(inputs)))

    output, backward = jax.vjp(of_floats, *(inputs[place] for place in floats))
    return (output, *backward(incoming))


def _elementwise() -> dict[str, Entry]:
    x, u = spread("x", *_SHAPE), positive("u", *_SHAPE)
    return {
        "exp": (jnp.exp, (x,)),
        "log": (jnp.log, (u,)),
        "log1p": (jnp.log1p, (u,)),
        "tanh": (jnp.tanh, (x,)),
        "sigmoid": (jax.nn.sigmoid, (x,)),
        "erf": (lax.erf, (x,)),
        "gelu": (lambda a: jax.nn.gelu(a, approximate=False), (x,)),
        "gelu by tanh": (lambda a: jax.nn.gelu(a, approximate=True), (x,)),
        "silu": (jax.nn.silu, (x,)),
        "softplus": (jax.nn.softplus, (x,)),
        "relu": (jax.nn.relu, (x,)),
        "sin": (jnp.sin, (x,)),
        "cos": (jnp.cos, (x,)),
        "power": (lambda a: a**1.7, (u,)),
        "sqrt": (jnp.sqrt, (u,)),
        "rsqrt": (lax.rsqrt, (u,)),
        "divide": (lambda a, b: a / b, (x, u)),
        "multiply and add": (lambda a, b: a * b + a, (x, u)),
        "dropout by a mask": (lambda a, mask: a * mask * (1.0 / 0.75), (x, kept("mask", *_SHAPE))),
    }


def _reductions() -> dict[str, Entry]:
    x, image = spread("x", *_SHAPE), spread("image", 6, 8, 15, 15)
    long = spread("long", 70_001)
    labels = indices("labels", _SHAPE[0], below=_SHAPE[1]).astype(np.int32)
    return {
        "sum of all": (jnp.sum, (long,)),
        "sum of rows": (lambda a: a.sum(1), (x,)),
        "sum of columns": (lambda a: a.sum(0), (x,)),
        "mean of rows": (lambda a: a.mean(1), (x,)),
        "variance": (lambda a: a.var(1), (x,)),
        "norm": (lambda a: jnp.sqrt((a * a).sum()), (long,)),
        "cumulative sum": (lambda a: a.cumsum(1), (x,)),
        "maximum": (lambda a: a.max(1), (x,)),
        "softmax": (lambda a: jax.nn.softmax(a, axis=-1), (x,)),
        "log softmax": (lambda a: jax.nn.log_softmax(a, axis=-1), (x,)),
        "log sum exp": (lambda a: jax.nn.logsumexp(a, axis=1), (x,)),
        "cross entropy": (_cross_entropy, (x, labels)),
        "layer norm": (_layer_norm, (x, spread("norm weight", _SHAPE[1]), spread("norm bias", _SHAPE[1]))),
        "batch norm": (_batch_norm, (image, spread("batch weight", 8), spread("batch bias", 8))),
    }


def _contractions() -> dict[str, Entry]:
    heads = tuple(spread(each, 2, 4, 64, 32) for each in ("query", "key", "value"))
    gray, weight = spread("gray", 8, 1, 28, 28), spread("first kernels", 12, 1, 3, 3)
    image, kernels = spread("deep image", 4, 12, 14, 14), spread("kernels", 20, 12, 3, 3)
    rows = indices("rows", 300, below=65).astype(np.int32)
    return {
        "matrix product": (jnp.matmul, (spread("left", 61, 300), spread("right", 300, 129))),
        "large matrix product": (jnp.matmul, (spread("wide", 768, 128), spread("narrow", 128, 384))),
        "product of long rows": (jnp.matmul, (spread("long left", 61, 2000), spread("long right", 2000, 50))),
        "batched matrix product": (jnp.matmul, (spread("lefts", 6, 33, 47), spread("rights", 6, 47, 29))),
        "linear": (
            lambda a, w, b: a @ w.T + b,
            (spread("left", 61, 300), spread("weight", 129, 300), spread("bias", 129)),
        ),
        "linear over positions": (
            lambda a, w, b: a @ w.T + b,
            (spread("tokens", 3, 64, 128), spread("mix", 96, 128), spread("shift", 96)),
        ),
        "convolution of one channel": (_convolution(1), (gray, weight)),
        "convolution": (_convolution(1), (image, kernels)),
        "strided convolution": (_convolution(2), (image, kernels)),
        "max pooling": (_max_pooling, (image,)),
        "causal attention": (_attention, heads),
        "embedding": (lambda table, chosen: table[chosen], (spread("embedding", 65, 48), rows)),
        "index add": (
            lambda a, chosen, b: a.at[chosen].add(b),
            (spread("embedding", 65, 48), rows, spread("added", 300, 48)),
        ),
    }


def _in_bfloat16() -> dict[str, Entry]:
    """Products of bfloat16 values; all around them is float32."""

    def narrow(function: Callable[..., Array]) -> Callable[..., Array]:
        return lambda *arrays: function(*(each.astype(jnp.bfloat16) for each in arrays)).astype(jnp.float32)

    image, kernels = spread("narrow image", 2, 8, 9, 9), spread("narrow kernels", 12, 8, 3, 3)
    return {
        "linear in bfloat16": (
            narrow(lambda a, w: a @ w.T),
            (spread("narrow left", 19, 67), spread("narrow weight", 33, 67)),
        ),
        "convolution in bfloat16": (narrow(_convolution(1)), (image, kernels)),
    }


def _cross_entropy(scores: Array, labels: Array) -> Array:
    chosen = jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(scores, axis=1) - chosen


def _layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * weight + bias


def _batch_norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean((0, 2, 3), keepdims=True)
    scale = lax.rsqrt((centred * centred).mean((0, 2, 3), keepdims=True) + 1e-5)
    return centred * scale * weight[:, None, None] + bias[:, None, None]


def _convolution(stride: int) -> Callable[..., Array]:
    def convolve(x: Array, kernels: Array) -> Array:
        strides, padding = (stride, stride), [(1, 1), (1, 1)]
        return lax.conv_general_dilated(x, kernels, strides, padding, dimension_numbers=_IMAGES)

    return convolve


def _max_pooling(x: Array) -> Array:
    extent = (1, 1, 2, 2)
    return lax.reduce_window(x, -jnp.inf, lax.max, extent, extent, "VALID")


def _attention(query: Array, key: Array, value: Array) -> Array:
    scores = query @ key.swapaxes(-2, -1) * (query.shape[-1] ** -0.5)
    seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1) @ value


def _update(recipe: Recipe) -> list[NDArray[Any]]:
    value, gradient, square = (jnp.asarray(spread(each, 40_000)) for each in ("value", "gradient", "square"))
    moments = dict.fromkeys(moments_of(recipe.optimizer), square * square)
    state = TrainingState(3, value, {}, moments, None if recipe.ema_decay is None else value)
    new = next_state(state, gradient, 12.0, recipe, 0.003)
    arrays = (new.model, *new.moments.values(), *(() if new.average is None else (new.average,)))
    return [np.asarray(each) for each in arrays]


_COMPILED: Mapping[str, Entry] = MappingProxyType(
    {**_elementwise(), **_reductions(), **_contractions(), **_in_bfloat16()}
)

_QUICK = ("exp", "log", "tanh", "erf", "sqrt", "sum of all", "softmax", "matrix product", "convolution")
