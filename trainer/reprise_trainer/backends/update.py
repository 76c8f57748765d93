"""One step of an optimizer, in arithmetic that every backend shares.

Plain operations in a fixed order, one rounding each: no fused multiply-add, since then the bits would depend on the
instruction set, and subnormal numbers count as zero (XLA on CPUs can do no other). A backend must keep to that, so that
the same gradients give the same weights and optimizer tensors in each. All is element by element: how a vector is cut
changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from reprise_trainer.backends.interface import AdamW, Optimizer, Sgd

Array = Any
"""A framework's float32 vector, or None for the place of a result in a framework that never writes in place."""

ROW = 1 << 15
"""Elements of a row where squares are added; also how many PyTorch computes without handing any to another thread."""


_LARGE_UNIT = 2.0**96
"""A power of two, so that dividing by it rounds nothing."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A framework's operations on its vectors, each rounded once and exactly.

    Each takes its arguments, of which the second may be a number, and the vector that the result goes to; what counts
    is what it returns.
    """

    add: Callable[[Array, Any, Array], Array]
    subtract: Callable[[Array, Any, Array], Array]
    multiply: Callable[[Array, Any, Array], Array]
    divide: Callable[[Array, Any, Array], Array]
    sqrt: Callable[[Array, Array], Array]


class SgdNumbers(NamedTuple):
    """The numbers of one step of `Sgd`."""

    momentum: float
    decay: float
    rate: float


class AdamWNumbers(NamedTuple):
    """The numbers of one step of `AdamW`: betas and what they leave, bias corrections, and the shares of value and
    change that go."""

    beta1: float
    rest1: float
    beta2: float
    rest2: float
    correction1: float
    correction2: float
    epsilon: float
    shrink: float
    rate: float


Numbers = SgdNumbers | AdamWNumbers


def numbers_of(optimizer: Optimizer, rate: float, step: int) -> Numbers:
    """The numbers of the step after which `step` steps are done (1, 2, …), in float64; a backend rounds each once."""
    match optimizer:
        case Sgd(momentum, decay):
            return SgdNumbers(momentum, decay, rate)
        case AdamW(beta1, beta2, epsilon, decay):
            corrections = (1.0 - integer_power(beta1, step), 1.0 - integer_power(beta2, step))
            return AdamWNumbers(beta1, 1.0 - beta1, beta2, 1.0 - beta2, *corrections, epsilon, rate * decay, rate)


def update(
    at: Arithmetic,
    numbers: Numbers,
    value: Array,
    gradient: Array,
    old: Mapping[str, Array],
    new: Mapping[str, Array],
    spare: Array,
) -> tuple[Array, dict[str, Array]]:
    """New values and moments.

    Args:
        at: the framework's arithmetic.
        numbers: of this step; numbers of the framework, or Python's.
        value, gradient: of the same shape; the gradient is that of the mean loss, and is written over.
        old: moment → vector, before the step.
        new: moment → vector that it goes to, and `model` → that of the values.
        spare: a vector to write over.
    """
    match numbers:
        case SgdNumbers(momentum, decay, rate):
            velocity = at.multiply(old["velocity"], momentum, new["velocity"])
            velocity = at.add(velocity, gradient, velocity)
            velocity = at.add(velocity, at.multiply(value, decay, spare), velocity)
            return at.subtract(value, at.multiply(velocity, rate, spare), new["model"]), {"velocity": velocity}
        case AdamWNumbers(beta1, rest1, beta2, rest2, correction1, correction2, epsilon, shrink, rate):
            mean = at.multiply(old["mean"], beta1, new["mean"])
            mean = at.add(mean, at.multiply(gradient, rest1, spare), mean)
            part = at.multiply(gradient, gradient, spare)
            part = at.multiply(part, rest2, part)
            square = at.multiply(old["square"], beta2, new["square"])
            square = at.add(square, part, square)
            root = at.divide(square, correction2, spare)
            root = at.sqrt(root, root)
            root = at.add(root, epsilon, root)
            change = at.divide(mean, correction1, gradient)
            change = at.divide(change, root, change)
            change = at.multiply(change, rate, change)
            result = at.subtract(value, at.multiply(value, shrink, spare), new["model"])
            return at.subtract(result, change, result), {"mean": mean, "square": square}


def averaged(at: Arithmetic, average: Array, value: Array, kept: Any, rest: Any, new: Array, spare: Array) -> Array:
    """The moving average of the weights one step later, in `new`: `kept` of the old one, `rest` of the new value."""
    return at.add(at.multiply(average, kept, new), at.multiply(value, rest, spare), new)


def clip_factor(mean_squared: Callable[[float], float], weight: float, limit: float) -> float:
    """What the gradient is multiplied by, so that it is at most `limit` long; 1.0 where it is that already.

    The square root is Python's, in float64: IEEE 754 asks for its exact rounding, so no library decides its bits.

    Args:
        mean_squared: divisor → the sum of squares of the gradient divided by it, in float32.
        weight: the divisor that gives the mean loss's gradient.
        limit: see above.
    """
    squared, unit = mean_squared(weight), 1.0
    if squared == math.inf:  # float32 holds no such square, but that of a gradient measured in larger units
        squared, unit = mean_squared(weight * _LARGE_UNIT), _LARGE_UNIT
    length = math.sqrt(squared) * unit if squared >= 0 else squared  # not a number stays so
    return limit / length if length > limit else 1.0


def integer_power(base: float, exponent: int) -> float:
    """`base ** exponent` by squaring: multiplications alone, so that no mathematical library decides its bits."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base, exponent = base * base, exponent >> 1
    return result
