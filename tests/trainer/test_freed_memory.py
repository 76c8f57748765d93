"""What a step frees is there for the next, without the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from reprise_trainer.backends.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    np.empty(64 << 20, np.uint8)[::4096] = 1
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_A_STEP = (64 << 20) // 4096


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


@pytest.mark.parametrize(("how", "least", "most"), [("keep", 0, 100), ("leave", 100, 6 * PAGES_A_STEP)])
def test_a_large_block_is_mapped_anew_only_where_malloc_is_left_as_it_is(how: str, least: int, most: int) -> None:
    assert least <= faults(how) <= most
