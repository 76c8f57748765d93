"""Both backends from the same start: how far apart their weights are after each step, in units in the last place.

The forward passes are each framework's own, so bits differ from the first step on; the random numbers, batches and the
optimizer's arithmetic are the same. Drift that grows faster than rounding does is a defect of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import Backend
from reprise_trainer.data.batches import BatchSource
from reprise_trainer.training.loop import first_state, steps
from reprise_trainer.training.plan import Plan


@dataclass(frozen=True, slots=True)
class Drift:
    """After `step` steps: share of weights whose bits differ, median and largest distance in units in the last place
    (float32 numbers between two weights), largest absolute difference, and both mean losses of the step."""

    step: int
    differing: float
    median_ulps: float
    largest_ulps: int
    largest_difference: float
    losses: tuple[float, float]


def drifts(plan: Plan, left: Backend, right: Backend, batches: BatchSource, count: int) -> Iterator[Drift]:
    """The drift after each of the first `count` steps; both begin with `left`'s first state."""
    start = left.export(first_state(plan, left))
    both = [steps(plan, backend, batches, backend.load(start), 0) for backend in (left, right)]
    for _, (one, other) in zip(range(count), zip(*both, strict=True), strict=False):
        losses = [each.reading.backend.loss(each.reading.sums).mean for each in (one, other)]
        ours, theirs = (_weights(backend, each.state) for backend, each in ((left, one), (right, other)))
        ulps = ulp_distance(ours, theirs)
        yield Drift(
            step=one.number + 1,
            differing=float((ulps > 0).mean()),
            median_ulps=float(np.median(ulps)),
            largest_ulps=int(ulps.max()),
            largest_difference=float(np.abs(ours - theirs).max()),
            losses=(losses[0], losses[1]),
        )


def ulp_distance(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many float32 numbers lie from each of `left` to that of `right`; -0 and 0 are one number."""
    distance: NDArray[np.int64] = np.abs(_ordered(left) - _ordered(right))
    return distance


def _ordered(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers in the order of the floats: IEEE 754 bit patterns are so already, but for the sign."""
    bits = values.view(np.int32).astype(np.int64)
    ordered: NDArray[np.int64] = np.where(bits < 0, -(bits + 2**31), bits)
    return ordered


def _weights(backend: Backend, state: object) -> NDArray[np.float32]:
    tensors = backend.export(state)
    return np.concatenate([tensors[name].reshape(-1) for name in sorted(tensors) if name.startswith("model/")])
