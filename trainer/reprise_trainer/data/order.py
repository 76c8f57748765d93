"""The order of records: a keyed permutation that can be asked for any position, in constant memory.

Position p of the endless stream lies in epoch p // N at place p % N; its record is `permutation(seed, epoch)(place)`.
Batches are consecutive positions, so nothing is dropped when N is not a multiple of the batch size, and resuming needs
one integer.

A balanced Feistel network over the smallest even number of bits that holds N - 1, walked until it lands below N (Black
and Rogaway, "Ciphers with arbitrary finite domains", 2002: the cycle-walking cipher): a true permutation for every N.
The round function is splitmix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
2014), which is not affine: an affine one leaves whole batches with all-odd records. The key is a hash of seed and epoch
and never their sum, so that seed 1 in epoch 2 has nothing in common with seed 2 in epoch 1.

A split that is too large for memory gets two levels, so that reading stays sequential: its records are cut into chunks,
the chunks are permuted, and the records of each window of chunks among themselves. Both are the permutation above.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.canonical import canonical_json

ROUNDS = 8
"""Four suffice where each round is pseudorandom itself (Luby and Rackoff, 1988); ours are weaker, so twice that."""

BLOCK = 1 << 14
"""Places computed at a time: NumPy's cost a call is spread over them (measured: 256 a call are 20 times slower), and
their words stay in a core's own cache (65,536 a call are slower again)."""

Indices = NDArray[np.int64]
_Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Order:
    """The endless stream of a split's records.

    Args:
        seed: the run's seed.
        records: N, the number of records in the split, at least 1.
        chunk: records that are read together; 0 permutes all records among each other.
        window: chunks whose records are permuted among each other.
    """

    seed: int
    records: int
    chunk: int = 0
    window: int = 0

    def records_at(self, start: int, count: int) -> Indices:
        """The records at positions `start` to `start + count - 1`.

        Args:
            start: first position, at least 0.
            count: how many.

        Returns:
            int64 array of shape (count,), values in [0, N).
        """
        parts: list[Indices] = []
        while count > 0:
            epoch, place = divmod(start, self.records)
            block, offset = divmod(place, BLOCK)
            values = _block(self, epoch, block)[offset : offset + count]
            parts.append(values)
            start, count = start + len(values), count - len(values)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def epoch(self, epoch: int, places: Indices) -> Indices:
        """The records at `places` (int64, in [0, N)) of one epoch."""
        if not self.chunk:
            return permute(self.seed, epoch, self.records, places)
        values = self._two_levels(epoch, places)
        outside = np.flatnonzero(values >= self.records)
        while outside.size:  # the last chunk may be cut short: walk over what it lacks, as over the Feistel network
            values[outside] = self._two_levels(epoch, values[outside])
            outside = outside[values[outside] >= self.records]
        return values

    def windows_from(self, position: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The window that `position` of the stream lies in, and the one after it, each as (epoch, window)."""
        epoch, place = divmod(position, self.records)
        window = place // (self.chunk * self.window)
        last = (self.records - 1) // (self.chunk * self.window)
        return (epoch, window), (epoch, window + 1) if window < last else (epoch + 1, 0)

    def chunks_of(self, epoch: int, window: int) -> list[int]:
        """The chunks whose records an epoch permutes among each other in one window."""
        chunks = -(-self.records // self.chunk)
        slots = np.arange(window * self.window, min((window + 1) * self.window, chunks), dtype=np.int64)
        found: list[int] = _permute(_round_keys("chunks", self.seed, epoch), chunks, slots).tolist()
        return found

    def _two_levels(self, epoch: int, places: Indices) -> Indices:
        """A permutation of [0, chunks * chunk): windows of permuted chunks, each permuted inside."""
        chunks = -(-self.records // self.chunk)
        windows, inside = np.divmod(places, self.chunk * self.window)
        result = np.empty_like(places)
        for window in np.unique(windows).tolist():
            mine = np.flatnonzero(windows == window)
            slots = np.arange(window * self.window, min((window + 1) * self.window, chunks), dtype=np.int64)
            drawn = _permute(_round_keys("window", self.seed, epoch, window), len(slots) * self.chunk, inside[mine])
            slot, record = np.divmod(drawn, self.chunk)
            result[mine] = _permute(_round_keys("chunks", self.seed, epoch), chunks, slots)[slot] * self.chunk + record
        return result


def records_at(seed: int, records: int, start: int, count: int) -> Indices:
    """`Order.records_at` of a split whose records are all permuted among each other."""
    return Order(seed, records).records_at(start, count)


def permute(seed: int, epoch: int, records: int, places: Indices) -> Indices:
    """The records at `places` of one epoch: the permutation of [0, N) keyed by (seed, epoch), element by element.

    Args:
        places: int64 array of any length, values in [0, N).

    Returns:
        int64 array of the same length.
    """
    return _permute(_round_keys("order", seed, epoch), records, places)


def _permute(keys: tuple[np.uint64, ...], records: int, places: Indices) -> Indices:
    half = np.uint64(half_bits(records))
    values = _feistel(places.astype(np.uint64), half, keys)
    outside = np.flatnonzero(values >= records)
    while outside.size:  # each walk stays on one cycle of the larger permutation, so no two end on one record
        values[outside] = _feistel(values[outside], half, keys)
        outside = outside[values[outside] >= records]
    return values.astype(np.int64)


def half_bits(records: int) -> int:
    """Bits of each half of the Feistel network that permutes [0, N)."""
    return max(1, (max(1, (records - 1).bit_length()) + 1) // 2)


# Pure and small (a 16,384-place block is 128 KiB): caching hides no state, it saves computing a block once a batch.
@lru_cache(maxsize=8)
def _block(order: Order, epoch: int, block: int) -> Indices:
    start = block * BLOCK
    values = order.epoch(epoch, np.arange(start, min(start + BLOCK, order.records), dtype=np.int64))
    values.flags.writeable = False
    return values


@lru_cache(maxsize=64)
def _round_keys(*purpose: str | int) -> tuple[np.uint64, ...]:
    key = hashlib.sha256(canonical_json(list(purpose))).digest()
    rounds = [hashlib.sha256(key + bytes([number])).digest() for number in range(ROUNDS)]
    return tuple(np.uint64(int.from_bytes(each[:8], "little")) for each in rounds)


def _feistel(values: _Words, half: np.uint64, keys: tuple[np.uint64, ...]) -> _Words:
    """One pass of the network. Buffers are used again: allocating them would take longer than computing."""
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    mixed, shifted = np.empty_like(right), np.empty_like(right)
    for key in keys:
        np.bitwise_xor(right, key, out=mixed)
        _mix(mixed, shifted)
        mixed &= mask
        mixed ^= left
        left, right, mixed = right, mixed, left
    left <<= half
    left |= right
    return left


def _mix(words: _Words, shifted: _Words) -> None:
    """splitmix64's finaliser in place; multiplication wraps modulo 2**64 (the constants are its authors')."""
    np.right_shift(words, np.uint64(30), out=shifted)
    words ^= shifted
    words *= np.uint64(0xBF58476D1CE4E5B9)
    np.right_shift(words, np.uint64(27), out=shifted)
    words ^= shifted
    words *= np.uint64(0x94D049BB133111EB)
    np.right_shift(words, np.uint64(31), out=shifted)
    words ^= shifted
