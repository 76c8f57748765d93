"""The state that every checkpointer writes: 64 float32 tensors of 4 MiB, as a model and its two moments would be.

Run by checkpoint.py as `PYTHON benchmarks/checkpointers/NAME.py FOLDER ROUNDS`; each program prints one JSON line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TENSORS, ELEMENTS = 64, 1 << 20


def make_state() -> dict[str, Any]:
    """Tensor name → array; random bits, so that nothing can be compressed away."""
    draw = np.random.Generator(np.random.Philox(7))
    return {f"model/layer{number}.weight": draw.random(ELEMENTS, np.float32) for number in range(TENSORS)}


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(version: str, write: Callable[[Path], object], **more: Any) -> None:
    """Time `write` into new places below FOLDER, once more than ROUNDS, since the first warms up; print the times."""
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    times = [seconds(lambda place=folder / str(number): write(place)) for number in range(rounds + 1)]
    print(json.dumps({"version": version, "write": times[1:], **more}))
