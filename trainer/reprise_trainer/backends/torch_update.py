"""The shared arithmetic of an update, on PyTorch vectors.

No `alpha=`, `addcmul`, `lerp`, which may fuse a multiplication with an addition. Vectors are worked through row by row:
a row's temporaries stay in the cache, and so short an operation stays in its thread, where subnormals are off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from reprise_trainer.backends.interface import Recipe
from reprise_trainer.backends.state_tensors import TrainingState
from reprise_trainer.backends.update import ROW, Rounded, averaged, clip_factor, numbers_of, update

# float32 sqrt goes through a vector library that does not round exactly and differs between CPU makers; float64 sqrt
# followed by one narrowing is the same everywhere, and rounded exactly.
_ROUNDED = Rounded(sqrt=lambda x: x.double().sqrt_().float(), divide=lambda x, number: x / number)


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
    with subnormals_are_zero():
        for a, b, out in zip(left.split(ROW), right.split(ROW), result.split(ROW), strict=True):
            torch.add(a, b, out=out)
    return result


def squared_length(vector: Tensor) -> float:
    """Sum of squares in one fixed order: rows of `ROW` elements are added by halving, then the last row's elements.

    Each addition adds two halves element by element; an odd one's middle waits for the next.
    """
    with subnormals_are_zero():
        rows = [row * row for row in vector.split(ROW)]
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
    model = torch.empty_like(state.model)
    moments = {name: torch.empty_like(vector) for name, vector in state.moments.items()}
    average = None if state.average is None else torch.empty_like(state.average)
    with subnormals_are_zero():
        mean = torch.empty_like(gradient)
        for start in range(0, len(gradient), ROW):
            row = slice(start, start + ROW)
            torch.div(gradient[row], weight, out=mean[row])
    factor = 1.0 if recipe.clip_norm is None else clip_factor(squared_length(mean), recipe.clip_norm)
    with subnormals_are_zero():
        for start in range(0, len(gradient), ROW):
            row = slice(start, start + ROW)
            old = {name: vector[row] for name, vector in state.moments.items()}
            change = mean[row] if factor == 1.0 else mean[row] * factor
            model[row], new = update(numbers, state.model[row], change, old, _ROUNDED)
            for name, vector in new.items():
                moments[name][row] = vector
            if average is not None:
                assert recipe.ema_decay is not None
                average[row] = averaged(state.average[row], model[row], recipe.ema_decay, 1.0 - recipe.ema_decay)
    return TrainingState(step, model, state.buffers, moments, average)
