"""Batches made ahead by threads, handed out in order: how many threads and how far ahead never changes one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Made = TypeVar("Made")

DEPTH = 2
"""Batches a thread that wait: enough to hide a slow one, few enough to bound memory."""


def prefetched(make: Callable[[int], Made], steps: Iterable[int], workers: int) -> Iterator[Made]:
    """`make(step)` for each step, in the order of `steps`.

    Since `make` is a pure function of its step, threads can only change when a value is made. Futures wait in a queue
    in the order of their steps, at most `DEPTH` a worker; a failure is raised at its own step.

    Args:
        make: gives a step's batch; called by several threads at once.
        steps: the steps, in order.
        workers: threads; with 0, each batch is made when it is asked for.
    """
    if workers == 0:
        yield from map(make, steps)
        return
    remaining = iter(steps)
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    try:
        waiting.extend(pool.submit(make, step) for step in islice(remaining, workers * DEPTH))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(make, step) for step in islice(remaining, 1))
            yield made
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
