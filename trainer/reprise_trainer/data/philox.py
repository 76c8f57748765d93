"""Our own random numbers: Philox4x32-10 in integers, and conversions that give the same bits everywhere.

Every number is a pure function of (key, counter): no generator state. Frameworks' own generators differ between
devices, vector widths and versions; this one is integer arithmetic, and the conversions use only operations that IEEE
754 rounds exactly (integer sums, one multiplication, one addition, one narrowing), never a mathematical library.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the known answers of the
authors' Random123 library are in the tests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.canonical import canonical_json

ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
"""Increments of the two key words a round: the golden ratio and the square root of three minus one (same paper)."""

_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Key:
    """The two 32-bit key words of one random stream."""

    low: int
    high: int


def stream_key(seed: int, *purpose: str | int) -> Key:
    """The key of the stream that serves one purpose, such as ("initial", "dense1.weight").

    A hash of all parts: streams of different purposes or seeds have nothing in common, however close the numbers.
    """
    digest = hashlib.sha256(canonical_json(["philox", seed, *purpose])).digest()
    return Key(int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little"))


def philox(counters: NDArray[np.uint32], key: Key) -> NDArray[np.uint32]:
    """Philox4x32-10 of each counter.

    Args:
        counters: uint32 array of shape (n, 4).
        key: the stream.

    Returns:
        uint32 array of shape (n, 4).
    """
    c0, c1, c2, c3 = (counters[:, column].astype(np.uint64) for column in range(4))
    low, high = key.low, key.high
    for _ in range(ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # 32 x 32 bits: exact in 64
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT) ^ c1 ^ np.uint64(low),
            product1 & _LOW,
            (product0 >> _SHIFT) ^ c3 ^ np.uint64(high),
            product0 & _LOW,
        )
        low, high = (low + _WEYL[0]) & 0xFFFFFFFF, (high + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def words(key: Key, count: int, *, start: int = 0) -> NDArray[np.uint32]:
    """Words `start` to `start + count - 1` of a stream: word i is column i % 4 of counter i // 4.

    Returns:
        uint32 array of shape (count,).
    """
    first = start // 4
    numbers = np.arange(first, -(-(start + count) // 4), dtype=np.uint64)
    counters = np.zeros((len(numbers), 4), np.uint32)
    counters[:, 0] = (numbers & _LOW).astype(np.uint32)
    counters[:, 1] = (numbers >> _SHIFT).astype(np.uint32)
    return philox(counters, key).reshape(-1)[start - 4 * first :][:count]


def uniform(key: Key, count: int, *, bound: float) -> NDArray[np.float32]:
    """Numbers spread evenly over (-bound, bound), symmetric and never 0.

    A word w becomes (2w + 1 - 2**32) / 2**32, exact in float64; times `bound` rounds once, to float32 once more.

    Returns:
        float32 array of shape (count,).
    """
    odd = words(key, count).astype(np.int64) * 2 + (1 - 2**32)
    return (odd.astype(np.float64) * 2.0**-32 * bound).astype(np.float32)


def normal(key: Key, count: int, *, deviation: float) -> NDArray[np.float32]:
    """Numbers that are close to normal: mean 0, standard deviation `deviation`, at most 6 deviations out.

    The sum of twelve uniform words (Irwin and Hall's distribution: variance 1, excess kurtosis -0.1), an exact integer;
    then one multiplication and one narrowing. Exact everywhere, which a logarithm or a cosine is not.

    Returns:
        float32 array of shape (count,).
    """
    total = words(key, 12 * count).reshape(count, 12).astype(np.int64).sum(axis=1)
    centred = total * 2 + 12 - 12 * 2**32  # twice the sum of (word + 1/2 - 2**31): below 2**37, exact in float64
    values: NDArray[np.float64] = centred.astype(np.float64) * 2.0**-33 * deviation
    return values.astype(np.float32)
