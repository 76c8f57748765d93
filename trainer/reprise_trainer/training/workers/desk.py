"""What forked workers share from before they are forked: each one's memory, and a line between each two that swap.

A memory is a file without a name (memfd_create(2)), which no mount limits, as `/dev/shm` is in a container. Standard
library alone, since nothing numeric may be loaded before a fork.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Desk:
    """One worker's view: the open memory of each worker, by rank, and its line to each worker that it swaps with. The
    line of a worker that has ended reads as ended."""

    memories: tuple[int, ...]
    lines: Mapping[int, socket.socket]


class Desks:
    """The desks of `size` workers, before they are forked; each then takes its own, which closes the others' lines.

    Raises:
        OSError: there are no more files to be had.
    """

    def __init__(self, size: int) -> None:
        self._memories = tuple(os.memfd_create("reprise-worker") for _ in range(size))
        self._lines: dict[tuple[int, int], socket.socket] = {}
        for rank in range(size):
            for bit in range(size.bit_length()):
                if rank < (peer := rank ^ 1 << bit) < size:
                    self._lines[rank, peer], self._lines[peer, rank] = socket.socketpair()

    def take(self, rank: int) -> Desk:
        """The desk of worker `rank`, in its own process."""
        own = {peer: line for (owner, peer), line in self._lines.items() if owner == rank}
        for (owner, _), line in self._lines.items():
            if owner != rank:
                line.close()
        return Desk(self._memories, own)
