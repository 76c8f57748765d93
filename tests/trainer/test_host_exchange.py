"""Forked workers swap through shared memory: what they send arrives whole, and nobody waits for one that has ended."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAD = """
import sys
import numpy as np
from reprise_trainer.errors import RepriseError
from reprise_trainer.training.workers.crew import crew
from reprise_trainer.training.workers.exchange import gather
from reprise_trainer.training.workers.joining import join
def own(rank, length):
    return np.random.default_rng(rank).bytes(length)
"""
SWAPPING = (
    HEAD
    + """
size, lengths = int(sys.argv[1]), [1, 5_000_000, 3, 700_001]
with crew(size) as group:
    exchange = join("torch", group)
    for length in lengths:
        assert gather(exchange, own(group.rank, length)) == [own(rank, length) for rank in range(size)], length
    exchange.close()
print("equal")
"""
)
DYING = (
    HEAD
    + """
import os
try:
    with crew(2) as group:
        exchange = join("torch", group)
        if group.rank == 1:
            os._exit(9)
        gather(exchange, b"x")
except RepriseError as error:
    print(error.exit_code, error.message)
"""
)

DIFFERING = (
    HEAD
    + """
import os
with crew(2) as group:
    exchange = join("torch", group)
    try:
        gather(exchange, bytes(5 + group.rank))
    except RepriseError as error:
        os.write(1, f"{error.exit_code} {error.message}\\n".encode())  # in one piece: two workers share the pipe
"""
)


def run(program: str, *arguments: str) -> str:
    argv = [sys.executable, "-c", program, *arguments]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


@pytest.mark.parametrize("size", [2, 4, 8])
def test_what_is_sent_arrives_whole_whatever_its_length(size: int) -> None:
    assert run(SWAPPING, str(size)) == "equal\n"


def test_a_worker_that_ended_is_known_at_once() -> None:
    began = time.monotonic()
    assert run(DYING) == "69 worker 1 ended with exit code 9\n"
    assert time.monotonic() - began < 10


def test_workers_that_send_different_amounts_end_with_a_message() -> None:
    assert sorted(run(DIFFERING).splitlines()) == [
        "69 worker 0 does not answer: it sent 5 bytes, expected 6",
        "69 worker 1 does not answer: it sent 6 bytes, expected 5",
    ]
