"""The built-in models as data: parameter names, shapes and initial values, the same for every backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import ShardKey
from reprise_trainer.data.philox import stream_key, uniform, words

KERNEL = 3
"""Extent of a convolution's square kernel; padded by 1, so that only pooling shrinks an image."""
POOL = 2
"""Extent and stride of max pooling after each convolution."""


@dataclass(frozen=True, slots=True)
class Cnn:
    """Convolutions (3 x 3, ReLU, 2 x 2 max pooling), then one hidden dense layer, then the classes.

    `image` is (height, width) of one-channel uint8 images, which are scaled to [-0.5, 0.5].
    """

    image: tuple[int, int]
    classes: int
    channels: tuple[int, ...]
    hidden: int
    dropout: float


@dataclass(frozen=True, slots=True)
class Mlp:
    """Dense layers with ReLU between them; images flattened and scaled as for `Cnn`."""

    image: tuple[int, int]
    classes: int
    hidden: tuple[int, ...]
    dropout: float


BuiltIn = Cnn | Mlp


@dataclass(frozen=True, slots=True)
class Own:
    """A user's model by two entry points `pkg.module:function`: `model(key, **options)` makes it, and
    `loss(model, batch, key)` gives (sum of losses, weight). `options` holds what TOML can."""

    model: str
    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)


Model = BuiltIn | Own


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter's name, its shape and how many inputs feed one output (0 for a bias).

    Layouts: convolution weights (out, in, height, width), dense weights (out, in).
    """

    name: str
    shape: tuple[int, ...]
    inputs: int


def parameters(model: BuiltIn) -> tuple[Parameter, ...]:
    """The model's parameters, in the order of the way of the data."""
    layers: list[Parameter] = []
    width, sizes = model.image[0] * model.image[1], model.hidden
    if isinstance(model, Cnn):
        height, breadth, channels = *model.image, 1
        for number, count in enumerate(model.channels, 1):
            shape = (count, channels, KERNEL, KERNEL)
            layers += _layer(f"conv{number}", shape, channels * KERNEL * KERNEL)
            height, breadth, channels = height // POOL, breadth // POOL, count
        width, sizes = height * breadth * channels, (model.hidden,)
    assert isinstance(sizes, tuple)
    for number, count in enumerate((*sizes, model.classes), 1):
        layers += _layer(f"dense{number}", (count, width), width)
        width = count
    return tuple(layers)


def initial_values(model: BuiltIn, seed: int) -> dict[str, NDArray[np.float32]]:
    """Parameter name → initial value: weights uniform within sqrt(6 / inputs), biases 0.

    The bound is He's for ReLU (He et al., "Delving deep into rectifiers", 2015, as a uniform distribution). Each
    parameter draws from a stream of its own name, so that adding a layer changes no other layer.
    """
    values: dict[str, NDArray[np.float32]] = {}
    for each in parameters(model):
        if each.inputs:
            bound = math.sqrt(6.0 / each.inputs)
            draws = uniform(stream_key(seed, "initial", each.name), math.prod(each.shape), bound=bound)
            values[each.name] = draws.reshape(each.shape)
        else:
            values[each.name] = np.zeros(each.shape, np.float32)
    return values


def hidden_widths(model: BuiltIn) -> tuple[int, ...]:
    """Widths of the hidden dense layers, whose outputs dropout acts on."""
    return (model.hidden,) if isinstance(model, Cnn) else model.hidden


def kept_by_dropout(model: BuiltIn, key: ShardKey, layer: int, records: int) -> NDArray[np.bool_]:
    """Which outputs of hidden dense layer `layer` (1, 2, …) a shard keeps; each goes with probability `model.dropout`.

    Drawn by our own generator, to 32 bits, so that every backend drops the same ones.

    Returns:
        bool array of shape (records, width).
    """
    width = hidden_widths(model)[layer - 1]
    stream = stream_key(key.seed, "dropout", key.step, key.shard, layer)
    kept = words(stream, records * width) >= np.uint32(int(model.dropout * 2**32))
    return kept.reshape(records, width)


def _layer(name: str, shape: tuple[int, ...], inputs: int) -> list[Parameter]:
    return [Parameter(f"{name}.weight", shape, inputs), Parameter(f"{name}.bias", (shape[0],), 0)]


def random_streams(model: BuiltIn) -> dict[str, str]:
    """Stream of our generator → what it is keyed by."""
    streams = {"initial": "seed, parameter name"}
    return streams | ({"dropout": "seed, step, shard, layer"} if model.dropout > 0 else {})
