"""The operations' hashes on this machine, under the profile that this process has."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from reprise_trainer.numerics.claims import OPEN

_HEX_DIGITS = 16


def measure(backend: str, *, quick: bool = False) -> dict[str, str]:
    """Compute the backend's operations on their fixed inputs.

    Args:
        backend: `torch` or `jax`, loaded and prepared already.
        quick: what a start can wait for: all of them in PyTorch, a few in JAX, where compiling takes seconds.

    Returns:
        Operation → hash, 16 hex digits.
    """
    module = importlib.import_module(f"reprise_trainer.numerics.{backend}_operations")
    results = module.compute_quickly() if quick else module.compute()
    return {name: _hash(arrays) for name, arrays in results.items()}


def covered(backend: str) -> frozenset[str]:
    """The framework's own operations that the promised entries are made of."""
    module = importlib.import_module(f"reprise_trainer.numerics.{backend}_operations")
    found: frozenset[str] = module.primitives(leave_out=OPEN[backend].keys())
    return found


def _hash(arrays: Iterable[NDArray[Any]]) -> str:
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(f"{array.dtype.str} {array.shape}".encode())
        sha256.update(array.tobytes())
    return sha256.hexdigest()[:_HEX_DIGITS]
