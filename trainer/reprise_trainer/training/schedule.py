"""The learning rate of each step, a pure function of its number.

Float64 with one rounding an operation; the cosine in decimal arithmetic of 40 digits, rounded once. The C library's
differs between CPUs with and without fused multiply-add (measured: in 54 to 158 of 200,000 arguments).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Literal

_EXACT = Context(prec=40)
_PI = Decimal("3.141592653589793238462643383279502884197169")


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the learning rate moves: up to `rate` in a line over `warmup` steps, then as `form` says.

    Args:
        rate: the highest learning rate.
        form: `constant`, or down to `rate * final` at the end of the run, in a line or half a cosine.
        steps: of the whole run.
        warmup: steps before `rate` is reached.
        final: share of `rate` at the end of a falling schedule.
    """

    rate: float
    form: Literal["constant", "linear", "cosine"]
    steps: int
    warmup: int = 0
    final: float = 0.0

    def at(self, step: int) -> float:
        """The learning rate of `step` (0, 1, …)."""
        if step < self.warmup:
            return self.rate * ((step + 1) / (self.warmup + 1))
        done, length = step - self.warmup, max(1, self.steps - self.warmup)
        match self.form:
            case "constant":
                return self.rate
            case "linear":
                left = (length - done) / length
            case "cosine":
                left = float(half_cosine(done, length))
        return self.rate * (self.final + (1.0 - self.final) * left)


def half_cosine(done: int, length: int) -> Decimal:
    """(1 + cos(pi * done / length)) / 2, to about 38 digits, by the cosine's Taylor series."""
    angle = _EXACT.divide(_EXACT.multiply(_PI, Decimal(done)), Decimal(length))
    square = _EXACT.multiply(angle, angle)
    total = term = Decimal(1)
    number = 0
    while abs(term) > Decimal("1e-42"):
        number += 2
        term = _EXACT.divide(_EXACT.multiply(-term, square), Decimal(number * (number - 1)))
        total = _EXACT.add(total, term)
    return _EXACT.divide(_EXACT.add(total, Decimal(1)), Decimal(2))
