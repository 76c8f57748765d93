"""The operation table's PyTorch side: every operation that the models use, forward and backward, on fixed inputs.

An entry is a function without arguments. Its results are hashed, never compared by tolerance. The sizes are large
enough for the libraries' blocked and vectorised paths, and have tails that those paths don't cover.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from reprise_trainer.backends.interface import Recipe
from reprise_trainer.backends.state_tensors import TrainingState, moments_of
from reprise_trainer.backends.torch_trace import OperationsSeen
from reprise_trainer.backends.torch_update import next_state
from reprise_trainer.numerics.inputs import RECIPES, indices, kept, positive, spread

Operation = Callable[[], tuple[Tensor, ...]]

_SHAPE = (37, 131)
"""Rows and columns of most inputs: odd, so that vectorised loops have a tail."""


def compute() -> dict[str, list[NDArray[Any]]]:
    """The results of every entry, by name: its output, then the gradients of its inputs."""
    return {name: [each.detach().numpy() for each in operation()] for name, operation in _OPERATIONS.items()}


compute_quickly = compute
"""All of it takes 0.1 s."""


def primitives(leave_out: Collection[str] = ()) -> frozenset[str]:
    """ATen's operations that the entries are made of, but for the entries left out."""
    with OperationsSeen() as seen:
        for name, operation in _OPERATIONS.items():
            if name not in leave_out:
                operation()
    return frozenset(seen.names)


def _both(function: Callable[..., Tensor], *inputs: NDArray[Any]) -> Operation:
    """Output and gradients of `function`; the incoming gradient is fixed too. Only float32 inputs get a gradient."""

    def operation() -> tuple[Tensor, ...]:
        tensors = [torch.from_numpy(each) for each in inputs]
        leaves = [each.requires_grad_() for each in tensors if each.is_floating_point()]
        output = function(*tensors)
        incoming = torch.from_numpy(spread("incoming", *output.shape, bound=1.0))
        return (output, *torch.autograd.grad(output, leaves, incoming))

    return operation


def _forward(function: Callable[..., Tensor], *inputs: NDArray[Any]) -> Operation:
    return lambda: (function(*(torch.from_numpy(each) for each in inputs)),)


def _drawn(draw: Callable[[torch.Generator], Tensor]) -> Operation:
    return lambda: (draw(torch.Generator().manual_seed(5)),)


def _elementwise() -> dict[str, Operation]:
    x, u = spread("x", *_SHAPE), positive("u", *_SHAPE)
    return {
        "add": _both(lambda a, b: a + b, x, u),
        "multiply": _both(lambda a, b: a * b, x, u),
        "divide": _both(lambda a, b: a / b, x, u),
        "divide by a number": _both(lambda a: a / 3.0, x),
        "reciprocal": _both(torch.reciprocal, u),
        "exp": _both(torch.exp, x),
        "log": _both(torch.log, u),
        "log1p": _both(torch.log1p, u),
        "tanh": _both(torch.tanh, x),
        "sigmoid": _both(torch.sigmoid, x),
        "erf": _both(torch.erf, x),
        "gelu": _both(functional.gelu, x),
        "gelu by tanh": _both(lambda a: functional.gelu(a, approximate="tanh"), x),
        "silu": _both(functional.silu, x),
        "softplus": _both(functional.softplus, x),
        "relu": _both(torch.relu, x),
        "sin": _both(torch.sin, x),
        "cos": _both(torch.cos, x),
        "power": _both(lambda a: a**1.7, u),
        "square": _both(lambda a: a**2, x),
        "sqrt": _both(torch.sqrt, u),
        "sqrt through float64": _forward(lambda a: a.double().sqrt().float(), u),
        "rsqrt": _both(torch.rsqrt, u),
        "dropout by a mask": _both(lambda a, mask: a * mask * (1.0 / 0.75), x, kept("mask", *_SHAPE)),
    }


def _reductions() -> dict[str, Operation]:
    x = spread("x", *_SHAPE)
    long = spread("long", 70_001)
    return {
        "sum of all": _both(torch.sum, long),
        "mean of all": _both(torch.mean, long),
        "sum of rows": _both(lambda a: a.sum(1), x),
        "sum of columns": _both(lambda a: a.sum(0), x),
        "mean of rows": _both(lambda a: a.mean(1), x),
        "variance": _both(lambda a: a.var(1, unbiased=False), x),
        "norm": _both(lambda a: a.norm(), long),
        "cumulative sum": _both(lambda a: a.cumsum(1), x),
        "maximum": _both(lambda a: a.amax(1), x),
        "softmax": _both(lambda a: a.softmax(-1), x),
        "log softmax": _both(lambda a: a.log_softmax(-1), x),
        "log sum exp": _both(lambda a: a.logsumexp(-1), x),
        "cross entropy": _both(
            lambda a, labels: functional.cross_entropy(a, labels, reduction="none"),
            x,
            indices("labels", _SHAPE[0], below=_SHAPE[1]),
        ),
        "layer norm": _both(
            lambda a, w, b: functional.layer_norm(a, (_SHAPE[1],), w, b),
            x,
            spread("norm weight", _SHAPE[1]),
            spread("norm bias", _SHAPE[1]),
        ),
        "rms norm": _both(
            lambda a, w: functional.rms_norm(a, (_SHAPE[1],), w, 1e-6), x, spread("norm weight", _SHAPE[1])
        ),
        "batch norm": _both(
            lambda a, w, b: functional.batch_norm(a, None, None, w, b, training=True),
            spread("image", 6, 8, 15, 15),
            spread("batch weight", 8),
            spread("batch bias", 8),
        ),
        "group norm": _both(
            lambda a, w, b: functional.group_norm(a, 4, w, b),
            spread("image", 6, 8, 15, 15),
            spread("batch weight", 8),
            spread("batch bias", 8),
        ),
    }


def _contractions() -> dict[str, Operation]:
    heads = [spread(each, 2, 4, 64, 32) for each in ("query", "key", "value")]
    gray, weight = spread("gray", 8, 1, 28, 28), spread("first kernels", 12, 1, 3, 3)
    image, kernels = spread("deep image", 4, 12, 14, 14), spread("kernels", 20, 12, 3, 3)
    return {
        "matrix product": _both(torch.mm, spread("left", 61, 300), spread("right", 300, 129)),
        "large matrix product": _both(torch.mm, spread("wide", 768, 128), spread("narrow", 128, 384)),
        "product of long rows": _both(torch.mm, spread("long left", 61, 2000), spread("long right", 2000, 50)),
        "batched matrix product": _both(torch.bmm, spread("lefts", 6, 33, 47), spread("rights", 6, 47, 29)),
        "linear": _both(functional.linear, spread("left", 61, 300), spread("weight", 129, 300), spread("bias", 129)),
        "linear without bias": _both(functional.linear, spread("left", 61, 300), spread("weight", 129, 300)),
        "linear over positions": _both(
            functional.linear, spread("tokens", 3, 64, 128), spread("mix", 96, 128), spread("shift", 96)
        ),
        "convolution of one channel": _both(
            lambda a, w, b: functional.conv2d(a, w, b, padding=1), gray, weight, spread("first shift", 12)
        ),
        "convolution": _both(
            lambda a, w, b: functional.conv2d(a, w, b, padding=1), image, kernels, spread("second shift", 20)
        ),
        "strided convolution": _both(lambda a, w: functional.conv2d(a, w, stride=2, padding=1), image, kernels),
        "max pooling": _both(lambda a: functional.max_pool2d(a, 2), image),
        "average pooling": _both(lambda a: functional.avg_pool2d(a, 2), image),
        "global average pooling": _both(lambda a: functional.adaptive_avg_pool2d(a, 1), image),
        "attention": _both(functional.scaled_dot_product_attention, *heads),
        "causal attention": _both(
            lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, is_causal=True), *heads
        ),
        "attention by products": _both(_attention_by_products, *heads),
        "embedding": _both(
            lambda table, rows: functional.embedding(rows, table),
            spread("embedding", 65, 48),
            indices("rows", 300, below=65),
        ),
        "index add": _both(
            lambda a, rows, b: a.index_add(0, rows, b),
            spread("embedding", 65, 48),
            indices("rows", 300, below=65),
            spread("added", 300, 48),
        ),
    }


def _in_bfloat16() -> dict[str, Operation]:
    """Products of bfloat16 values, as a run with `precision = "bfloat16"` has them; all around them is float32."""
    image, kernels = spread("narrow image", 2, 8, 9, 9), spread("narrow kernels", 12, 8, 3, 3)
    heads = [spread(each, 2, 2, 24, 16) for each in ("query", "key", "value")]
    return {
        "linear in bfloat16": _both(
            lambda a, w: functional.linear(a.bfloat16(), w.bfloat16()).float(),
            spread("narrow left", 19, 67),
            spread("narrow weight", 33, 67),
        ),
        "convolution in bfloat16": _both(
            lambda a, w: functional.conv2d(a.bfloat16(), w.bfloat16(), padding=1).float(), image, kernels
        ),
        "causal attention in bfloat16": _both(
            lambda q, k, v: functional.scaled_dot_product_attention(
                q.bfloat16(), k.bfloat16(), v.bfloat16(), is_causal=True
            ).float(),
            *heads,
        ),
    }


def _attention_by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention written out, as models without a fused kernel have it."""
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5)
    ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(ahead, float("-inf")).softmax(-1) @ value


def _update(recipe: Recipe) -> Operation:
    def operation() -> tuple[Tensor, ...]:
        value, gradient, square = (torch.from_numpy(spread(each, 40_000)) for each in ("value", "gradient", "square"))
        moments = dict.fromkeys(moments_of(recipe.optimizer), square * square)
        state = TrainingState(3, value, {}, moments, None if recipe.ema_decay is None else value)
        new = next_state(state, gradient, 12.0, recipe, 0.003)
        return (new.model, *new.moments.values(), *(() if new.average is None else (new.average,)))

    return operation


def _generators() -> dict[str, Operation]:
    """The framework's own generator: user models draw their dropout from it."""
    return {
        "uniform draw": _drawn(lambda generator: torch.rand(_SHAPE, generator=generator)),
        "normal draw": _drawn(lambda generator: torch.randn(_SHAPE, generator=generator)),
        "bernoulli draw": _drawn(lambda generator: torch.empty(_SHAPE).bernoulli_(0.7, generator=generator)),
    }


_OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        **_elementwise(),
        **_reductions(),
        **_contractions(),
        **_in_bfloat16(),
        **_generators(),
        **{name: _update(recipe) for name, recipe in RECIPES.items()},
    }
)
"""Name → what is computed. Names are the keys of the committed table."""
