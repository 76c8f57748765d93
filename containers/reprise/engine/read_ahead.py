"""Buffers that a thread fills while another one uses those before: for reads that don't hold Python's lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

BUFFERS = 4


@contextmanager
def read_ahead(fill: Callable[[memoryview], int], size: int) -> Iterator[Callable[[], memoryview]]:
    """What `fill` reads, ahead of who wants it, for the length of the block.

    Args:
        fill: reads into a buffer, and says how many bytes; 0 at the end. Called in a thread of its own.
        size: bytes of a buffer.

    Gives a function for the next bytes, empty at the end; what it gave before is free again then. It raises what `fill`
    raised. At the block's end the thread is waited for, which is one call of `fill` at most.
    """
    free: SimpleQueue[memoryview] = SimpleQueue()
    full: SimpleQueue[tuple[memoryview, int] | BaseException] = SimpleQueue()
    over = threading.Event()
    nothing = memoryview(b"")
    held = [memoryview(bytearray(size)) for _ in range(BUFFERS)]

    def run() -> None:
        count = 1
        while count and not over.is_set():
            buffer = free.get()
            try:
                count = 0 if over.is_set() else fill(buffer)
            except BaseException as error:
                full.put(error)
                return
            full.put((buffer, count))

    def following() -> memoryview:
        while held:
            free.put(held.pop())
        if over.is_set():
            return nothing
        found = full.get()
        if isinstance(found, BaseException):
            over.set()
            raise found
        buffer, count = found
        if not count:
            over.set()
        held.append(buffer)
        return buffer[:count]

    thread = threading.Thread(target=run, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield following
    finally:
        over.set()
        free.put(nothing)  # it may wait for one
        thread.join()
