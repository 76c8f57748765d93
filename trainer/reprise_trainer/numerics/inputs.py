"""The fixed inputs of the operation table: our own random numbers, so that every backend and machine gets the same."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import AdamW, Recipe, Sgd
from reprise_trainer.data.philox import stream_key, uniform, words

RECIPES = {
    "update: adamw": Recipe(AdamW(0.9, 0.999, 1e-8, 0.01)),
    "update: adamw, clipped and averaged": Recipe(AdamW(0.9, 0.999, 1e-8, 0.01), clip_norm=0.5, ema_decay=0.9),
    "update: sgd": Recipe(Sgd(0.9, 0.01)),
}
"""Entries of the optimizers' own arithmetic, the same in every backend."""

SEED = 6
"""Any number does; another one would be another table."""


def spread(name: str, *shape: int, bound: float = 3.0) -> NDArray[np.float32]:
    """float32 values spread evenly over (-bound, bound), of `shape`; each name has its own stream."""
    return uniform(stream_key(SEED, "operations", name), math.prod(shape), bound=bound).reshape(shape)


def positive(name: str, *shape: int) -> NDArray[np.float32]:
    """float32 values in (0.05, 2.05): what roots, logarithms and divisors are taken of."""
    return np.abs(spread(name, *shape, bound=2.0)) + np.float32(0.05)


def indices(name: str, count: int, *, below: int) -> NDArray[np.int64]:
    """int64 numbers of shape (count,) in [0, below), with repeats."""
    return (words(stream_key(SEED, "operations", name), count) % np.uint32(below)).astype(np.int64)


def kept(name: str, *shape: int) -> NDArray[np.bool_]:
    """bool values of `shape`, about three of four true: a dropout mask."""
    found = words(stream_key(SEED, "operations", name), math.prod(shape)) >= np.uint32(2**30)
    return found.reshape(shape)
