"""One step of an optimizer on one parameter, in arithmetic that every backend shares.

Plain operations in a fixed order, one rounding each: no fused multiply-add, since then the bits would depend on the
instruction set. A backend must run them one by one (PyTorch does; JAX does outside `jit`), so that the same gradients
give the same weights and optimizer tensors in each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reprise_trainer.backends.interface import AdamW, Optimizer, Sgd

Array = Any
"""A framework's float32 array: it has + - * / with arrays of its kind, and + - * with numbers, each rounded once."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """What a framework's operators leave open: `sqrt` of an array and `divide` of an array by a number, each rounded
    once and exactly."""

    sqrt: Callable[[Array], Array]
    divide: Callable[[Array, float], Array]


def update(
    optimizer: Optimizer,
    value: Array,
    gradient: Array,
    old: Mapping[str, Array],
    *,
    rate: float,
    step: int,
    rounded: Rounded,
) -> tuple[Array, dict[str, Array]]:
    """One parameter's new value and moments.

    Args:
        optimizer: the rule.
        value, gradient: of the same shape; the gradient is that of the mean loss.
        old: moment → tensor, before the step.
        rate: learning rate of this step.
        step: steps done after this one (1, 2, …).
        rounded: the framework's own way to a square root and a quotient.
    """
    match optimizer:
        case Sgd(momentum, decay):
            velocity = old["velocity"] * momentum + gradient + value * decay
            return value - velocity * rate, {"velocity": velocity}
        case AdamW(beta1, beta2, epsilon, decay):
            mean = old["mean"] * beta1 + gradient * (1.0 - beta1)
            square = old["square"] * beta2 + (gradient * gradient) * (1.0 - beta2)
            root = rounded.sqrt(rounded.divide(square, 1.0 - integer_power(beta2, step)))
            change = rounded.divide(mean, 1.0 - integer_power(beta1, step)) / (root + epsilon)
            return value - value * (rate * decay) - change * rate, {"mean": mean, "square": square}


def integer_power(base: float, exponent: int) -> float:
    """`base ** exponent` by squaring: multiplications alone, so that no mathematical library decides its bits."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base, exponent = base * base, exponent >> 1
    return result
