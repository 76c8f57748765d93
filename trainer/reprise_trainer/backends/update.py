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
"""A framework's float32 vector: it has + - * / with its kind, and + - * with numbers, each rounded once."""

ROW = 1 << 15
"""Elements of a row in `squared_length`; also how many PyTorch computes without handing any to another thread."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """What a framework's operators leave open: `sqrt` of an array and `divide` of an array by a number, each rounded
    once and exactly."""

    sqrt: Callable[[Array], Array]
    divide: Callable[[Array, Any], Array]


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
    numbers: Numbers, value: Array, gradient: Array, old: Mapping[str, Array], rounded: Rounded
) -> tuple[Array, dict[str, Array]]:
    """New values and moments. Results that nobody else has are changed in place, where a framework can.

    Args:
        numbers: of this step; numbers of the framework, or Python's.
        value, gradient: of the same shape; the gradient is that of the mean loss.
        old: moment → vector, before the step.
        rounded: the framework's own way to a square root and a quotient.
    """
    match numbers:
        case SgdNumbers(momentum, decay, rate):
            velocity = old["velocity"] * momentum
            velocity += gradient
            velocity += value * decay
            return value - velocity * rate, {"velocity": velocity}
        case AdamWNumbers(beta1, rest1, beta2, rest2, correction1, correction2, epsilon, shrink, rate):
            mean = old["mean"] * beta1
            mean += gradient * rest1
            part = gradient * gradient
            part *= rest2
            square = old["square"] * beta2
            square += part
            root = rounded.sqrt(rounded.divide(square, correction2))
            root += epsilon
            change = rounded.divide(mean, correction1)
            change /= root
            change *= rate
            result = value - value * shrink
            result -= change
            return result, {"mean": mean, "square": square}


def averaged(average: Array, value: Array, kept: Any, rest: Any) -> Array:
    """The moving average of the weights one step later: `kept` of the old one, `rest` of the new value."""
    return average * kept + value * rest


def clip_factor(squared_length: float, limit: float) -> float:
    """What the gradient is multiplied by, so that it is at most `limit` long; 1.0 where it is that already.

    The square root is Python's, in float64: IEEE 754 asks for its exact rounding, so no library decides its bits.
    """
    length = math.sqrt(squared_length) if squared_length >= 0 else squared_length  # not a number stays so
    return limit / length if length > limit else 1.0


def integer_power(base: float, exponent: int) -> float:
    """`base ** exponent` by squaring: multiplications alone, so that no mathematical library decides its bits."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base, exponent = base * base, exponent >> 1
    return result
