"""Between workers the tree goes on: the bits of one worker, whatever the number; and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reprise_trainer.backends import torch_exchange
from reprise_trainer.backends.meeting import Meeting
from reprise_trainer.errors import DoesNotHoldError, UnavailableError
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.numerics.proof import Proof, WorkerMachine, promised, table_digest
from reprise_trainer.training.tree import tree_sum
from reprise_trainer.training.workers.exchange import combine, gather, gather_texts, require_equal
from reprise_trainer.training.workers.group import own_shards
from reprise_trainer.training.workers.machines import compare_machines

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


@pytest.mark.parametrize("size", SIZES)
def test_texts_of_any_length_reach_everybody(size: int) -> None:
    texts = [b"", b"one\0", b"two and more", b"\0\0", b"", b"5", b"6", b"7" * 70_000]
    assert Room(size).each(lambda seat: gather_texts(seat, texts[seat.rank])) == [texts[:size]] * size


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


AMD, INTEL = (each.name for each in PROFILES["x86-64-v3"].machines)
HASHES = dict.fromkeys(("exp", "linear", "softmax", "sqrt"), "1" * 16)


def compared(*proofs: Proof) -> list[Proof | str]:
    """What each of the workers that have these proofs is told: its proof, or the message that ends it."""

    def act(seat: Seat) -> Proof | str:
        try:
            return compare_machines(seat, "torch", proofs[seat.rank])
        except DoesNotHoldError as error:
            return error.message

    return Room(len(proofs)).each(act)


def test_workers_whose_machines_compute_alike_go_on_and_know_all_machines() -> None:
    proof = Proof("unproven", ("nobody has measured this",), AMD, HASHES)
    found = compared(*[proof] * 4)
    assert found == [replace(proof, workers=(WorkerMachine(AMD, table_digest(promised("torch", HASHES))),) * 4)] * 4


def test_a_worker_with_other_bits_is_named_with_its_operations_by_all() -> None:
    honest = Proof("proved", (), AMD, HASHES)
    other = Proof("unproven", (), INTEL, {**HASHES, "exp": "0" * 16, "linear": "0" * 16})
    lacking = Proof("unproven", (), AMD, {name: HASHES[name] for name in ("exp", "softmax")})
    message = f"worker 2 ({INTEL}) has other bits than worker 0 ({AMD}) in exp, linear"
    assert compared(honest, honest, other, honest) == [f"the workers' machines don't compute alike: {message}"] * 4
    (said,) = set(compared(honest, lacking, other, honest))
    assert f"worker 1 ({AMD}) has other bits than worker 0 ({AMD}) in linear; {message}" in str(said)


def test_another_class_of_machines_ends_the_run_though_its_operations_agree() -> None:
    (said,) = set(compared(Proof("proved", (), AMD, HASHES), Proof("unproven", (), "", HASHES)))
    assert str(said).endswith(f"worker 1 is on a machine of no class, worker 0 on {AMD}")


def test_an_operation_that_no_profile_promises_may_differ() -> None:
    proofs = [Proof("proved", (), AMD, {**HASHES, "sqrt": str(rank) * 16}) for rank in range(2)]
    assert [isinstance(each, Proof) for each in compared(*proofs)] == [True, True]


def test_of_many_operations_the_first_are_named() -> None:
    many = {f"operation {number:02}": "1" * 16 for number in range(12)}
    (said,) = set(compared(Proof("proved", (), AMD, many), Proof("proved", (), AMD, dict.fromkeys(many, "2" * 16))))
    assert str(said).endswith("operation 07 and 4 more")


def test_a_worker_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_exchange, "MEETING_SECONDS", 1.0)
    with pytest.raises(UnavailableError, match=r"worker 0 did not meet the other 1 at 127\.0\.0\.1:0"):
        torch_exchange.TorchExchange(Meeting(0, 2, "127.0.0.1", 0, local=True))
