"""How workers share a step: the tree over the logical shards goes on between them, neighbours first.

A worker holds the sum over its own shards, a node of the tree. In round d = 1, 2, 4, … it swaps sums with the worker
whose number differs in that bit, and both add the two in index order. An IEEE addition gives both the same bits, and
the rounds are the tree's upper levels: so each ends with the root, whatever the number of workers. (Halving the vector
would move fewer bytes; with few workers a host's memory is no bottleneck, and this way is one function.)

All else that workers must agree on goes by the same swaps: who wants to stop, and whether their ledgers are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import Backend, ShardSums
from reprise_trainer.errors import DoesNotHoldError

Bytes = NDArray[np.uint8]


class Exchange(Protocol):
    """A connection between workers. `rank` counts from 0; `size` is a power of two."""

    rank: int
    size: int

    def swap(self, data: Bytes, distance: int) -> Bytes:
        """Send `data` to worker `rank ^ distance`, and give what it sent: as many bytes.

        Raises:
            UnavailableError: it does not answer, or has ended.
        """

    def close(self) -> None:
        """Leave in order, once all have."""


class Alone:
    """The one worker of a run that has no other."""

    rank, size = 0, 1

    def swap(self, data: Bytes, distance: int) -> Bytes:
        """See `Exchange.swap`; never needed."""
        raise AssertionError("there is nobody to swap with")

    def close(self) -> None:
        """See `Exchange.close`."""


ALONE = Alone()


def rounds(size: int) -> Iterator[int]:
    """The distances 1, 2, 4, … below `size`."""
    distance = 1
    while distance < size:
        yield distance
        distance *= 2


def combine(exchange: Exchange, backend: Backend, sums: ShardSums, flag: bool) -> tuple[ShardSums, bool]:
    """The sum over all workers' shards, and whether any worker's `flag` is up; the same on each of them."""
    for distance in rounds(exchange.size):
        tensors = backend.sums_tensors(sums)
        received, theirs_up = _unpacked(exchange.swap(_packed(tensors, flag), distance), tensors)
        theirs = backend.load_sums(received)
        sums = backend.add(theirs, sums) if exchange.rank & distance else backend.add(sums, theirs)
        flag = flag or theirs_up
    return sums, flag


def gather(exchange: Exchange, data: bytes) -> list[bytes]:
    """What each worker gives, by rank; all give equally many bytes."""
    found = [data]
    for distance in rounds(exchange.size):
        swapped = exchange.swap(np.frombuffer(b"".join(found), np.uint8), distance).tobytes()
        theirs = [swapped[start : start + len(data)] for start in range(0, len(swapped), len(data))]
        found = [*theirs, *found] if exchange.rank & distance else [*found, *theirs]
    return found


def gather_texts(exchange: Exchange, text: bytes) -> list[bytes]:
    """What each worker gives, by rank, however long each is."""
    lengths = [int.from_bytes(each, "big") for each in gather(exchange, len(text).to_bytes(8, "big"))]
    padded = gather(exchange, text.ljust(max(lengths), b"\0"))
    return [each[:length] for each, length in zip(padded, lengths, strict=True)]


def require_equal(exchange: Exchange, data: bytes, what: str) -> None:
    """Raises DoesNotHoldError when the workers' `data` differ; names `what`, and the first worker that differs."""
    found = gather(exchange, data)
    for rank, each in enumerate(found):
        if each != found[0]:
            raise DoesNotHoldError(
                f"worker {rank} has another {what} than worker 0",
                hint="Were they started with the same configuration, image and data? Are their CPUs of one class?",
            )


def _packed(tensors: Mapping[str, NDArray[Any]], flag: bool) -> Bytes:
    """All bytes in one row: widest elements first, so that each array is aligned; then the flag."""
    parts = [np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8) for name in _order(tensors)]
    return np.concatenate([*parts, np.array([flag], np.uint8)])


def _unpacked(data: Bytes, like: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[Any]], bool]:
    found, start = {}, 0
    for name in _order(like):
        end = start + like[name].nbytes
        found[name] = data[start:end].view(like[name].dtype).reshape(like[name].shape)
        start = end
    return found, bool(data[start])


def _order(tensors: Mapping[str, NDArray[Any]]) -> list[str]:
    return sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
