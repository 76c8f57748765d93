"""The shared arithmetic of an update, on PyTorch vectors.

No `alpha=`, `addcmul`, `lerp`, which may fuse a multiplication with an addition. Vectors are worked through row by row:
a row's temporaries stay in the cache, and so short an operation stays in its thread, where subnormals are off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprise_trainer.backends.interface import Recipe
from reprise_trainer.backends.state_tensors import TrainingState
from reprise_trainer.backends.update import ROW, Rounded, averaged, clip_factor, numbers_of, update


def _root(x: Any) -> Any:
    """The square root, exactly rounded. PyTorch's float32 one on a CPU goes through a vector library that does not
    round exactly and differs between makers; NumPy's is the processor's own instruction."""
    return np.sqrt(x, out=x) if isinstance(x, np.ndarray) else x.double().sqrt_().float()


_ROUNDED = Rounded(sqrt=_root, divide=lambda x, number: x / number)

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
    with subnormals_are_zero():
        for a, b, out in zip(left.split(ROW), right.split(ROW), result.split(ROW), strict=True):
            torch.add(a, b, out=out)
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
    factor = 1.0 if recipe.clip_norm is None else clip_factor(_mean_squared(gradient, weight), recipe.clip_norm)
    new = TrainingState(
        step=step,
        model=torch.empty_like(state.model),
        buffers=state.buffers,
        moments={name: torch.empty_like(vector) for name, vector in state.moments.items()},
        average=None if state.average is None else torch.empty_like(state.average),
    )
    with subnormals_are_zero(), np.errstate(all="ignore"):  # what is not finite is found where it is read
        for old, now, slope in zip(_chunks(state), _chunks(new), _parts(gradient), strict=True):
            change = slope / weight
            if factor != 1.0:
                change *= factor
            now["model"][:], moments = update(numbers, old["model"], change, old, _ROUNDED)
            for name, vector in moments.items():
                now[name][:] = vector
            if recipe.ema_decay is not None:
                now["ema"][:] = averaged(old["ema"], now["model"], recipe.ema_decay, 1.0 - recipe.ema_decay)
    return new


def _chunks(state: TrainingState) -> Iterator[dict[str, Any]]:
    """The state's vectors side by side, a chunk at a time: `model`, `ema` and the moments by name."""
    vectors = {"model": state.model, **state.moments}
    if state.average is not None:
        vectors["ema"] = state.average
    return (
        dict(zip(vectors, parts, strict=True))
        for parts in zip(*(_parts(each) for each in vectors.values()), strict=True)
    )


def _parts(vector: Tensor) -> list[Any]:
    """Chunks of a vector that share its memory. On the CPU as NumPy arrays: each operation is the processor's own
    there, without a detour through a vector library, and takes half the time to call."""
    parts = vector.split(CHUNK)
    return [part.numpy() for part in parts] if vector.device.type == "cpu" else list(parts)
