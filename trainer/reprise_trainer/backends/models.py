"""The built-in models as data: parameter names, shapes and initial values, the same for every backend."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import ShardKey
from reprise_trainer.data.philox import normal, stream_key, uniform, words
from reprise_trainer.errors import InputError

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


@dataclass(frozen=True, slots=True)
class Gpt:
    """A decoder of tokens: `layers` blocks of causal attention and a dense part four times as wide, each behind a layer
    normalisation and beside a residual (Radford et al., "Language models are unsupervised multitask learners", 2019).

    `vocabulary` counts the tokens there are, `block` those that the model sees. Dropout follows the embeddings and both
    parts of a block, not the attention's weights. `tied`: the head's weights are those of the tokens' embedding.
    `recompute`: a block's values are computed again on the way back instead of kept.
    """

    vocabulary: int
    block: int
    layers: int
    heads: int
    width: int
    dropout: float
    tied: bool
    recompute: bool = False


BuiltIn = Cnn | Mlp | Gpt
Precision = Literal["float32", "bfloat16"]
"""What matrix products and convolutions take and give: rounded to bfloat16 they are added up in float32 inside. All
else (weights, normalisation, softmax, losses, gradients, the optimizer) is float32 in either."""


@dataclass(frozen=True, slots=True)
class Own:
    """A user's model by two entry points `pkg.module:function`: `model(key, **options)` makes it, and
    `loss(model, batch, key)` gives (sum of losses, weight). `options` holds what TOML can."""

    model: str
    loss: str
    options: Mapping[str, Any] = field(default_factory=dict)


Model = BuiltIn | Own

EVALUATION = "evaluation"
"""The stream of what a user's model draws while it is evaluated."""
EVALUATION_KEYED = "a fixed key"
"""What it is keyed by: each batch draws the same numbers, whatever was computed before, and where."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter's name, its shape, and how its initial values are drawn: uniform within `spread`, normal with the
    deviation `spread`, or all equal to `spread`.

    Layouts: convolution weights (out, in, height, width), dense weights (out, in).
    """

    name: str
    shape: tuple[int, ...]
    form: Literal["uniform", "normal", "constant"]
    spread: float


def parameters(model: BuiltIn) -> tuple[Parameter, ...]:
    """The model's parameters, in the order of the way of the data.

    Raises:
        InputError: a `Cnn` has more convolutions than its images have halves.
    """
    return tuple(_gpt_parameters(model) if isinstance(model, Gpt) else _image_parameters(model))


def _image_parameters(model: Cnn | Mlp) -> list[Parameter]:
    layers: list[Parameter] = []
    width = model.image[0] * model.image[1]
    if isinstance(model, Cnn):
        _require_room(model)
        height, breadth, channels = *model.image, 1
        for number, count in enumerate(model.channels, 1):
            shape = (count, channels, KERNEL, KERNEL)
            layers += _layer(f"conv{number}", shape, channels * KERNEL * KERNEL)
            height, breadth, channels = height // POOL, breadth // POOL, count
        width = height * breadth * channels
    for number, count in enumerate((*hidden_widths(model), model.classes), 1):
        layers += _layer(f"dense{number}", (count, width), width)
        width = count
    return layers


def _require_room(model: Cnn) -> None:
    """Refuse images of which the poolings would leave nothing."""
    height, width = model.image
    count = len(model.channels)
    if min(height, width) < POOL**count:
        raise InputError(
            f"an image of {height} x {width} is too small for {count} convolutions, each of which is followed by a "
            f"pooling that halves it: {count} need {POOL**count} x {POOL**count} at the least",
            hint=f"Give model.channels fewer numbers (at most {min(height, width).bit_length() - 1} fit), "
            'take larger images, or a model of kind "mlp".',
        )


def _layer(name: str, shape: tuple[int, ...], inputs: int) -> list[Parameter]:
    """Weights within sqrt(6 / inputs), biases 0: He's bound for ReLU (He et al., "Delving deep into rectifiers", 2015,
    as a uniform distribution)."""
    bound = math.sqrt(6.0 / inputs)
    return [Parameter(f"{name}.weight", shape, "uniform", bound), Parameter(f"{name}.bias", shape[:1], "constant", 0.0)]


def _gpt_parameters(model: Gpt) -> list[Parameter]:
    """Weights normal with deviation 0.02, those that end a residual smaller by the square root of their number, as in
    the paper; norms 1, biases 0."""
    width, small = model.width, 0.02 / math.sqrt(2 * model.layers)

    def dense(name: str, outputs: int, inputs: int, deviation: float = 0.02) -> list[Parameter]:
        weight = Parameter(f"{name}.weight", (outputs, inputs), "normal", deviation)
        return [weight, Parameter(f"{name}.bias", (outputs,), "constant", 0.0)]

    def norm(name: str) -> list[Parameter]:
        return [Parameter(f"{name}.{part}", (width,), "constant", v) for part, v in (("weight", 1.0), ("bias", 0.0))]

    found = [Parameter("token.weight", (model.vocabulary, width), "normal", 0.02)]
    found.append(Parameter("position.weight", (model.block, width), "normal", 0.02))
    for number in range(1, model.layers + 1):
        block = f"block{number}"
        found += [*norm(f"{block}.norm1"), *dense(f"{block}.attention", 3 * width, width)]
        found += [*dense(f"{block}.projection", width, width, small), *norm(f"{block}.norm2")]
        found += [*dense(f"{block}.expand", 4 * width, width), *dense(f"{block}.contract", width, 4 * width, small)]
    found += norm("norm")
    return found if model.tied else [*found, Parameter("head.weight", (model.vocabulary, width), "normal", 0.02)]


def initial_values(model: BuiltIn, seed: int) -> dict[str, NDArray[np.float32]]:
    """Parameter name → initial value. Each draws from a stream of its own name, so that adding a layer changes no other
    layer."""
    values: dict[str, NDArray[np.float32]] = {}
    for each in parameters(model):
        key, count = stream_key(seed, "initial", each.name), math.prod(each.shape)
        match each.form:
            case "uniform":
                drawn = uniform(key, count, bound=each.spread)
            case "normal":
                drawn = normal(key, count, deviation=each.spread)
            case "constant":
                drawn = np.full(count, each.spread, np.float32)
        values[each.name] = drawn.reshape(each.shape)
    return values


def aliases(model: BuiltIn) -> dict[str, str]:
    """See `Backend.aliases`."""
    return {"head.weight": "token.weight"} if isinstance(model, Gpt) and model.tied else {}


def hidden_widths(model: Cnn | Mlp) -> tuple[int, ...]:
    """Widths of the hidden dense layers, whose outputs dropout acts on."""
    return (model.hidden,) if isinstance(model, Cnn) else model.hidden


def kept_by_dropout(model: BuiltIn, key: ShardKey, records: int) -> list[NDArray[np.bool_]]:
    """For each place of dropout, which values a shard keeps; each goes with probability `model.dropout`.

    Drawn by our own generator, to 32 bits, so that every backend drops the same ones.

    Returns:
        bool arrays of shape (records, width), for a `Gpt` (records, block, width); none without dropout.
    """
    if not model.dropout:
        return []
    if isinstance(model, Gpt):
        shapes: list[tuple[int, ...]] = [(records, model.block, model.width)] * (1 + 2 * model.layers)
    else:
        shapes = [(records, width) for width in hidden_widths(model)]
    limit = np.uint32(int(model.dropout * 2**32))
    streams = [stream_key(key.seed, "dropout", key.step, key.shard, place) for place in range(1, len(shapes) + 1)]
    return [
        (words(stream, math.prod(shape)) >= limit).reshape(shape) for stream, shape in zip(streams, shapes, strict=True)
    ]


def random_streams(model: BuiltIn) -> dict[str, str]:
    """Stream of our generator → what it is keyed by."""
    streams = {"initial": "seed, parameter name"}
    return streams | ({"dropout": "seed, step, shard, place"} if model.dropout > 0 else {})
