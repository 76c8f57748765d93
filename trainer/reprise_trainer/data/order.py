"""The order of records: a keyed permutation that can be asked for any position, in constant memory.

Position p of the endless stream lies in epoch p // N at place p % N; its record is `permutation(seed, epoch)(place)`.
Batches are consecutive positions, so nothing is dropped when N is not a multiple of the batch size, and resuming needs
one integer.

A balanced Feistel network over the smallest even number of bits that holds N - 1, walked until it lands below N (Black
and Rogaway, "Ciphers with arbitrary finite domains", 2002: the cycle-walking cipher): a true permutation for every N.
The round function is splitmix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
2014), which is not affine: an affine one leaves whole batches with all-odd records. The key is a hash of seed and epoch
and never their sum, so that seed 1 in epoch 2 has nothing in common with seed 2 in epoch 1.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.canonical import canonical_json

ROUNDS = 8
"""Four suffice where each round is pseudorandom itself (Luby and Rackoff, 1988); ours are weaker, so twice that."""

BLOCK = 1 << 14
"""Places computed at a time: NumPy's cost a call is spread over them (measured: 256 a call are 20 times slower)."""

Indices = NDArray[np.int64]
_Words = NDArray[np.uint64]


def records_at(seed: int, records: int, start: int, count: int) -> Indices:
    """The records at positions `start` to `start + count - 1` of the endless stream.

    Args:
        seed: the run's seed.
        records: N, the number of records in the split, at least 1.
        start: first position, at least 0.
        count: how many.

    Returns:
        int64 array of shape (count,), values in [0, N).
    """
    parts: list[Indices] = []
    while count > 0:
        epoch, place = divmod(start, records)
        block, offset = divmod(place, BLOCK)
        values = _block(seed, epoch, records, block)[offset : offset + count]
        parts.append(values)
        start, count = start + len(values), count - len(values)
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def permute(seed: int, epoch: int, records: int, places: Indices) -> Indices:
    """The records at `places` of one epoch: the permutation of [0, N) keyed by (seed, epoch), element by element.

    Args:
        places: int64 array of any length, values in [0, N).

    Returns:
        int64 array of the same length.
    """
    half = np.uint64(max(1, (max(1, (records - 1).bit_length()) + 1) // 2))
    keys = _round_keys(seed, epoch)
    values = _feistel(places.astype(np.uint64), half, keys)
    outside = np.flatnonzero(values >= records)
    while outside.size:  # each walk stays on one cycle of the larger permutation, so no two end on one record
        values[outside] = _feistel(values[outside], half, keys)
        outside = outside[values[outside] >= records]
    return values.astype(np.int64)


# Pure and small (a 16,384-place block is 128 KiB): caching hides no state, it saves computing a block once a batch.
@lru_cache(maxsize=8)
def _block(seed: int, epoch: int, records: int, block: int) -> Indices:
    start = block * BLOCK
    values = permute(seed, epoch, records, np.arange(start, min(start + BLOCK, records), dtype=np.int64))
    values.flags.writeable = False
    return values


def _round_keys(seed: int, epoch: int) -> list[np.uint64]:
    key = hashlib.sha256(canonical_json(["order", seed, epoch])).digest()
    rounds = [hashlib.sha256(key + bytes([number])).digest() for number in range(ROUNDS)]
    return [np.uint64(int.from_bytes(each[:8], "little")) for each in rounds]


def _feistel(values: _Words, half: np.uint64, keys: list[np.uint64]) -> _Words:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half) | right


def _mix(words: _Words) -> _Words:
    """splitmix64's finaliser; multiplication wraps modulo 2**64 (the constants are its authors')."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
