"""The shared arithmetic of an update, on PyTorch vectors.

No `alpha=`, `addcmul`, `lerp`, which may fuse a multiplication with an addition. On a CPU it is NumPy that computes, in
the calling thread, where subnormals are off; squares are added by PyTorch, in rows so short that they stay there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprise_trainer.backends.interface import Recipe
from reprise_trainer.backends.state_tensors import TrainingState
from reprise_trainer.backends.update import ROW, Arithmetic, averaged, clip_factor, numbers_of, update

_NUMPY = Arithmetic(np.add, np.subtract, np.multiply, np.divide, np.sqrt)
"""On a CPU: each operation is the processor's own there, without a detour through a vector library (PyTorch's float32
square root takes one that does not round exactly and differs between makers), and takes half the time to call."""

_TORCH = Arithmetic(
    add=lambda a, b, out: torch.add(a, b, out=out),
    subtract=lambda a, b, out: torch.sub(a, b, out=out),
    multiply=lambda a, b, out: torch.mul(a, b, out=out),
    divide=lambda a, b, out: torch.div(a, b, out=out),
    sqrt=lambda a, out: out.copy_(a.double().sqrt_()),
)

CHUNK = 1 << 15
"""Elements that are updated together: a chunk's temporaries (128 KiB each) stay in the cache."""


@contextmanager
def subnormals_are_zero() -> Iterator[None]:
    """Let this thread take subnormal numbers for zero, and give none, while the block runs: as XLA does."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def added(left: Tensor, right: Tensor) -> Tensor:
    """`left` + `right`, vectors of one length."""
    result = torch.empty_like(left)
    at = _NUMPY if left.device.type == "cpu" else _TORCH
    with subnormals_are_zero():
        at.add(_as_array(left), _as_array(right), _as_array(result))
    return result


def _mean_squared(gradient: Tensor, weight: float) -> float:
    """Sum of squares of the gradient over its weight, in one fixed order: rows of `ROW` elements are added by halving,
    then the last row's elements. Each addition adds two halves element by element; an odd one's middle waits for the
    next.
    """
    with subnormals_are_zero():
        means = (row / weight for row in gradient.split(ROW))
        rows = [mean.mul_(mean) for mean in means]
        rows[-1] = torch.nn.functional.pad(rows[-1], (0, ROW - len(rows[-1])))
        while len(rows) > 1:
            half = (len(rows) + 1) // 2
            rows = [a + b for a, b in zip(rows, rows[half:], strict=False)] + rows[len(rows) - half : half]
        row = rows[0]
        while len(row) > 1:
            row = row[: len(row) // 2] + row[len(row) // 2 :]
    return float(row)


def next_state(state: TrainingState, gradient: Tensor, weight: float, recipe: Recipe, rate: float) -> TrainingState:
    """The state one step later, with the old one's buffers.

    Args:
        state: of PyTorch vectors; nothing in it is changed.
        gradient: of the sum of losses.
        weight: what the sums are divided by.
        recipe, rate: the rule and this step's learning rate.
    """
    step = state.step + 1
    numbers = numbers_of(recipe.optimizer, rate, step)
    factor = (
        1.0 if recipe.clip_norm is None else clip_factor(partial(_mean_squared, gradient), weight, recipe.clip_norm)
    )
    new = TrainingState(
        step=step,
        model=torch.empty_like(state.model),
        buffers=state.buffers,
        moments={name: torch.empty_like(vector) for name, vector in state.moments.items()},
        average=None if state.average is None else torch.empty_like(state.average),
    )
    at = _NUMPY if gradient.device.type == "cpu" else _TORCH
    olds, news = _vectors(state), _vectors(new)
    slopes, spares = _as_array(gradient), _as_array(torch.empty((2, CHUNK), device=gradient.device))
    with subnormals_are_zero(), np.errstate(all="ignore"):  # what is not finite is found where it is read
        for start in range(0, len(slopes), CHUNK):
            part = slice(start, start + CHUNK)
            old = {name: vector[part] for name, vector in olds.items()}
            now = {name: vector[part] for name, vector in news.items()}
            slope = slopes[part]
            mean, spare = (each[: len(slope)] for each in spares)
            mean = at.divide(slope, weight, mean)
            if factor != 1.0:
                mean = at.multiply(mean, factor, mean)
            update(at, numbers, old["model"], mean, old, now, spare)
            if recipe.ema_decay is not None:
                averaged(at, old["ema"], now["model"], recipe.ema_decay, 1.0 - recipe.ema_decay, now["ema"], spare)
    return new


def _vectors(state: TrainingState) -> dict[str, Any]:
    """The state's vectors: `model`, `ema` where there is one, and the moments by name; on the CPU as NumPy arrays."""
    vectors = {"model": state.model, **state.moments}
    if state.average is not None:
        vectors["ema"] = state.average
    return {name: _as_array(vector) for name, vector in vectors.items()}


def _as_array(tensor: Tensor) -> Any:
    return tensor.numpy() if tensor.device.type == "cpu" else tensor
