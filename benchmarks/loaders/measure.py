"""What every loader is measured by: an epoch of batches or 4 seconds, each batch summed so that it is really read.

Run by data_order.py as `PYTHON benchmarks/loaders/NAME.py FOLDER BATCH`: FOLDER holds `image.npy` and `label.npy`; each
program writes the same records in its own format there, once. It prints one JSON line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

WARM = 30
"""Batches before the clock starts: threads and processes are up by then."""

LONGEST = 4.0
"""Seconds after which an epoch need not go on: the rate is known."""

Batch = tuple[Any, Any]


def report(version: str, epoch: Callable[[], Iterable[Batch]], batch: int, far: Callable[[], Batch] | None) -> None:
    """Measure and print: records a second, and seconds to the first batch at position 10**9 in a new loader."""
    rate = records_per_second(iter(epoch()), batch)
    found: dict[str, Any] = {"version": version, "records_per_second": rate, "first_far": None}
    if far is not None:
        start = time.perf_counter()
        far()
        found["first_far"] = time.perf_counter() - start
    print(json.dumps(found))


def records_per_second(batches: Iterator[Batch], batch: int) -> float:
    for image, label in islice(batches, WARM):
        touch(image, label)
    count, start = 0, time.perf_counter()
    for image, label in batches:
        assert len(image) == len(label) == batch
        touch(image, label)
        count += 1
        if time.perf_counter() - start > LONGEST:
            break
    return count * batch / (time.perf_counter() - start)


def touch(image: Any, label: Any) -> int:
    """Read one byte of each record."""
    return int(image[:, 0, 0].sum()) + int(label.sum())
