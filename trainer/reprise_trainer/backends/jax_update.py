"""The shared arithmetic of an update, on JAX vectors: compiled, and yet one rounding an operation.

XLA fuses multiplications with additions, divides by multiplying with a reciprocal, and joins quotients of quotients. So
each result passes through an exclusive or with integers that are zero only at run time: what the compiler cannot know
to be the same number, it cannot fold into the next operation.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from reprise_trainer.backends.interface import Recipe
from reprise_trainer.backends.state_tensors import TrainingState
from reprise_trainer.backends.update import ROW, Arithmetic, Numbers, averaged, clip_factor, numbers_of, update

_ZERO = np.int32(0)


class _Once:
    """An array whose every operation is rounded by itself. `zero` is an int32 scalar that the compiler cannot see."""

    def __init__(self, array: Array, zero: Array) -> None:
        self.array = array
        self.zero = zero

    def __add__(self, other: Any) -> _Once:
        return self._kept(self.array + _plain(other))

    def __sub__(self, other: Any) -> _Once:
        return self._kept(self.array - _plain(other))

    def __mul__(self, other: Any) -> _Once:
        return self._kept(self.array * _plain(other))

    def __truediv__(self, other: Any) -> _Once:
        if isinstance(other, _Once):
            return self._kept(self.array / other.array)
        # A number is spread out so that no two elements are known to have the same divisor.
        hidden = _bits(self.array) & self.zero
        return self._kept(self.array / _floats(_bits(jnp.full_like(self.array, other)) ^ hidden))

    def sqrt(self) -> _Once:
        return self._kept(jnp.sqrt(self.array))

    def _kept(self, array: Array) -> _Once:
        return _Once(_floats(_bits(array) ^ self.zero), self.zero)


_ARITHMETIC = Arithmetic(
    add=lambda a, b, out: a + b,
    subtract=lambda a, b, out: a - b,
    multiply=lambda a, b, out: a * b,
    divide=lambda a, b, out: a / b,
    sqrt=lambda a, out: a.sqrt(),
)


def next_state(state: TrainingState, gradient: Array, weight: float, recipe: Recipe, rate: float) -> TrainingState:
    """See `torch_update.next_state`; of JAX vectors."""
    step = state.step + 1
    factor = 1.0
    if recipe.clip_norm is not None:
        factor = clip_factor(partial(_mean_squared, gradient), weight, recipe.clip_norm)
    numbers = numbers_of(recipe.optimizer, rate, step)
    kept = () if recipe.ema_decay is None else (np.float32(recipe.ema_decay), np.float32(1.0 - recipe.ema_decay))
    model, moments, average = _next(
        (state.model, state.moments, state.average),
        gradient,
        (np.float32(weight), np.float32(factor)),
        _narrowed(numbers),
        kept,
        _ZERO,
    )
    return TrainingState(step, model, state.buffers, moments, average)


def added(left: Array, right: Array) -> Array:
    """`left` + `right`, element by element."""
    return left + right


def _one_step(
    old: tuple[Array, dict[str, Array], Array | None],
    gradient: Array,
    scale: tuple[Array, Array],
    numbers: Numbers,
    kept: tuple[Array, ...],
    zero: Array,
) -> tuple[Array, dict[str, Array], Array | None]:
    once = partial(_Once, zero=zero)
    weight, factor = scale
    mean = once(gradient) / weight * factor
    moments = {name: once(vector) for name, vector in old[1].items()}
    nowhere = dict.fromkeys(("model", *moments))
    model, new = update(_ARITHMETIC, numbers, once(old[0]), mean, moments, nowhere, None)
    average = None if old[2] is None else averaged(_ARITHMETIC, once(old[2]), model, kept[0], kept[1], None, None).array
    return model.array, {name: vector.array for name, vector in new.items()}, average


def _squared_length(gradient: Array, weight: Array, zero: Array) -> Array:
    """The sum of squares of the gradient over its weight, in the order of PyTorch's (`torch_update`)."""
    mean = _Once(gradient, zero) / weight
    squares = (mean * mean).array
    rows = jnp.pad(squares, (0, -len(squares) % ROW)).reshape(-1, ROW)
    while len(rows) > 1:
        half = (len(rows) + 1) // 2
        paired = len(rows) - half
        rows = jnp.concatenate([(_Once(rows[:paired], zero) + rows[half:]).array, rows[paired:half]])
    row = rows[0]
    while len(row) > 1:
        row = (_Once(row[: len(row) // 2], zero) + row[len(row) // 2 :]).array
    return row[0]


_next = jax.jit(_one_step)
_compiled_squared_length = jax.jit(_squared_length)


def _mean_squared(gradient: Array, weight: float) -> float:
    return float(_compiled_squared_length(gradient, np.float32(weight), _ZERO))


def _narrowed(numbers: Numbers) -> Numbers:
    narrow: Any = np.float32
    return type(numbers)(*(narrow(number) for number in numbers))


def _plain(value: Any) -> Any:
    return value.array if isinstance(value, _Once) else value


def _bits(array: Array) -> Array:
    return lax.bitcast_convert_type(array, jnp.int32)


def _floats(bits: Array) -> Array:
    return lax.bitcast_convert_type(bits, jnp.float32)
