"""Between workers the tree goes on: the bits of one worker, whatever the number; and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reprise_trainer.backends import torch_exchange
from reprise_trainer.backends.meeting import Meeting
from reprise_trainer.errors import DoesNotHoldError, UnavailableError
from reprise_trainer.training.tree import tree_sum
from reprise_trainer.training.workers.exchange import combine, gather, require_equal
from reprise_trainer.training.workers.group import own_shards

Sums = Mapping[str, NDArray[Any]]
SIZES = (1, 2, 4, 8)


class Room:
    """Workers that are threads of this process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=20)
        self.desk: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * size

    def each(self, act: Callable[[Seat], Any]) -> list[Any]:
        """What `act` gives at every seat, by rank."""
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(act, [Seat(self, rank) for rank in range(self.size)]))


class Seat:
    """One worker's place; see `Exchange`."""

    def __init__(self, room: Room, rank: int) -> None:
        self.room, self.rank, self.size = room, rank, room.size

    def swap(self, data: NDArray[np.uint8], distance: int) -> NDArray[np.uint8]:
        self.room.desk[self.rank] = data.copy()
        self.room.barrier.wait()
        found = self.room.desk[self.rank ^ distance]
        self.room.barrier.wait()
        return found

    def close(self) -> None:
        pass


class Adding:
    """As much of a backend as an exchange needs."""

    @staticmethod
    def sums_tensors(sums: Sums) -> Sums:
        return sums

    load_sums = sums_tensors

    @staticmethod
    def add(left: Sums, right: Sums) -> Sums:
        return {name: left[name] + right[name] for name in left}


floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)


@pytest.mark.parametrize("size", SIZES)
@given(values=st.lists(floats, min_size=24, max_size=24), flags=st.integers(min_value=0, max_value=255))
def test_any_number_of_workers_adds_to_the_same_bits(size: int, values: list[float], flags: int) -> None:
    rows = np.array(values, np.float32).reshape(8, 3)
    shards = [{"gradient": row, "loss": np.float64(row[0]), "weight": np.int64(i)} for i, row in enumerate(rows)]
    expected = tree_sum(shards, Adding.add)

    def act(seat: Seat) -> tuple[Sums, bool]:
        own = tree_sum((shards[index] for index in own_shards(seat.rank, size, 8)), Adding.add)
        arrays = {name: np.asarray(value) for name, value in own.items()}
        return combine(seat, Adding, arrays, bool(flags >> seat.rank & 1))  # type: ignore[arg-type]

    for sums, flag in Room(size).each(act):
        assert {name: np.asarray(value).tobytes() for name, value in sums.items()} == {
            name: np.asarray(value).tobytes() for name, value in expected.items()
        }
        assert flag == bool(flags & (2**size - 1))


@pytest.mark.parametrize("size", SIZES)
def test_everybody_hears_everybody_in_order(size: int) -> None:
    found = Room(size).each(lambda seat: gather(seat, f"worker {seat.rank}".encode()))
    assert found == [[f"worker {rank}".encode() for rank in range(size)]] * size


@pytest.mark.parametrize("different", [1, 2, 3])
def test_a_worker_that_differs_is_named_by_all(different: int) -> None:
    def act(seat: Seat) -> str:
        try:
            require_equal(seat, b"x" if seat.rank == different else b"y", "ledger")
        except DoesNotHoldError as error:
            return error.message
        return ""

    assert Room(4).each(act) == [f"worker {different} has another ledger than worker 0"] * 4
    assert Room(4).each(lambda seat: require_equal(seat, b"y", "ledger")) == [None] * 4


def test_a_worker_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_exchange, "MEETING_SECONDS", 1.0)
    with pytest.raises(UnavailableError, match=r"worker 0 did not meet the other 1 at 127\.0\.0\.1:0"):
        torch_exchange.TorchExchange(Meeting(0, 2, "127.0.0.1", 0, local=True))
