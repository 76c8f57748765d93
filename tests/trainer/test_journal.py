"""The journal: ledger and checkpoints in step, however late a step is read and however slow the disk is."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reprise_trainer.backends.interface import Loss, Recipe, Sgd
from reprise_trainer.backends.models import Mlp
from reprise_trainer.backends.torch_backend import TorchBackend
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import DoesNotHoldError, InputError, StorageError
from reprise_trainer.reporting.events import text
from reprise_trainer.training.checkpoints import writer as checkpoint_writer
from reprise_trainer.training.checkpoints.checkpoint import latest_good, read_checkpoint
from reprise_trainer.training.checkpoints.names import checkpoint_folders, checkpoint_name
from reprise_trainer.training.checkpoints.state_digest import state_digest
from reprise_trainer.training.checkpoints.writer import CheckpointWriter
from reprise_trainer.training.journal import Journal
from reprise_trainer.training.ledger import Header, read_ledger
from reprise_trainer.training.loop import train
from reprise_trainer.training.plan import Plan
from reprise_trainer.training.reading import Reading
from reprise_trainer.training.resume import begin
from reprise_trainer.training.schedule import Schedule

HEADER = Header("sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "c" * 64, 7)
MODEL = Mlp((28, 28), 10, (8,), 0.0)
PLAN = Plan(1, 12, 32, 4, 3, Schedule(0.01, "linear", 12), MODEL, Recipe(Sgd(0.9, 0.0)))


class Numbers:
    """A backend whose sums are plain numbers: what is read of a step is that step's number."""

    def loss(self, sums: float) -> Loss:
        return Loss(sums, 1)

    def is_finite(self, sums: float) -> bool:
        return True

    def gradient_sums(self, sums: float) -> dict[str, int]:
        return {"w": int(sums)}


def state_after(done: int) -> dict[str, Any]:
    return {"model/w": np.full(1000, done, np.float32), "step": np.array(done)}


def keep(
    output: Path,
    *,
    big: int = 0,
    before_step: Callable[[int], None] = lambda number: None,
    loss: Callable[[int], float] = float,
    state_of: Callable[[int], dict[str, Any]] = state_after,
    leaving: Callable[[], None] = lambda: None,
) -> list[str]:
    """Journal the steps up to 12 with a checkpoint after each third, and return the events."""
    output.mkdir(exist_ok=True)
    events: list[str] = []
    backend: Any = Numbers()
    beginning = replace(begin(output, HEADER), leaving=leaving)
    with Journal(PLAN, beginning, output, lambda event: events.append(str(event))) as journal:
        for number in range(beginning.step, 12):
            before_step(number)
            journal.add(Reading(number, f"{number:064x}", backend, loss(number)))
            if (number + 1) % 3 == 0:
                state = state_of(number + 1) | {"big": np.zeros(big, np.uint8)}
                journal.checkpoint(number + 1, lambda state=state: state)
        journal.drain()
    beginning.ledger.close()
    return events


@contextmanager
def slow_writes(monkeypatch: pytest.MonkeyPatch, delay: Callable[[int], float]) -> Iterator[None]:
    """While the block runs, the write after step n takes `delay(n)` seconds longer."""
    real = checkpoint_writer.write_checkpoint

    def slow(folder: Path, step: int, tensors: Any, **options: Any) -> str:
        time.sleep(delay(step))
        return real(folder, step, tensors, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_writer, "write_checkpoint", slow)
        yield


def test_people_can_read_every_event_of_a_step_and_its_validation(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    backend: Any = Numbers()
    with Journal(PLAN, begin(tmp_path, HEADER), tmp_path, events.append) as journal:
        journal.add(Reading(0, "0" * 64, backend, 2.0, validation=0.25))
        journal.drain()
    assert [text(event) for event in events] == ["step 1/12  loss 2.0000", "validation after step 1: loss 0.2500"]


def test_the_ledger_does_not_depend_on_how_fast_the_disk_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = keep(tmp_path / "fast", before_step=lambda number: time.sleep(0.03))
    expected = (tmp_path / "fast/ledger.jsonl").read_bytes()
    kinds = [next(iter(line.keys() & {"step", "checkpoint"})) for line in read_ledger(expected).lines]
    assert kinds == ["step", "step", "step", "checkpoint"] * 4
    for name, delay in (("slow", lambda step: 0.2), ("uneven", lambda step: 0.05 * (step % 2))):
        with slow_writes(monkeypatch, delay):
            events = keep(tmp_path / name)
        assert (tmp_path / name / "ledger.jsonl").read_bytes() == expected
        assert sorted(events) == sorted(at_once)


def test_no_line_stands_before_its_checkpoint_and_no_checkpoint_before_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_: int) -> None:
        time.sleep(0.02)
        folder = tmp_path / "out/checkpoints"
        whole = {int(path.name[5:]) for path in folder.glob("step-*")}
        ledger = read_ledger((tmp_path / "out/ledger.jsonl").read_bytes())
        assert set(ledger.checkpoints) <= whole
        steps = [line["step"] for line in ledger.lines if "step" in line]
        assert max(whole, default=0) <= len(steps)
        seen.append(len(whole) > len(ledger.checkpoints) or len(steps) % 3)

    seen: list[object] = []
    with slow_writes(monkeypatch, lambda step: 0.1):
        keep(tmp_path / "out", before_step=look)
    assert len(seen) == 12 and any(seen)


def test_the_next_checkpoint_waits_for_the_one_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    most = []
    real = checkpoint_writer.write_checkpoint

    def counting(folder: Path, step: int, tensors: Any, **options: Any) -> str:
        running.append(step)
        most.append(len(running))
        time.sleep(0.1)
        running.remove(step)
        return real(folder, step, tensors, **options)

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", counting)
    start = time.monotonic()
    keep(tmp_path / "out")
    assert most == [1, 1, 1, 1] and time.monotonic() - start >= 0.4


def test_a_full_disk_stops_the_run_at_the_next_step_with_its_cause(small_disk: Path) -> None:
    steps: list[int] = []

    def note(number: int) -> None:
        steps.append(number)
        time.sleep(0.3)

    with pytest.raises(StorageError, match="No space left"):
        keep(small_disk / "out", big=20_000_000, before_step=note)
    assert 3 <= steps[-1] < 6  # found while later steps were computed, and before the next checkpoint
    assert list((small_disk / "out/checkpoints").iterdir()) == []
    lines = read_ledger((small_disk / "out/ledger.jsonl").read_bytes()).lines
    assert [line.get("step") for line in lines] == [0, 1, 2]


def test_an_error_of_the_run_leaves_the_checkpoint_in_flight_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        if number == 4:
            raise InputError("the loss is nan")

    stood: list[list[Path]] = []
    with slow_writes(monkeypatch, lambda step: 0.2), pytest.raises(InputError, match="nan"):
        keep(
            tmp_path / "out",
            before_step=fail,
            leaving=lambda: stood.append(checkpoint_folders(tmp_path / "out/checkpoints")),
        )
    assert stood == [[]], "the others are let go before the checkpoint in flight is waited for"
    ledger = read_ledger((tmp_path / "out/ledger.jsonl").read_bytes())
    found, passed_over = latest_good(tmp_path / "out/checkpoints")
    assert found is not None and not passed_over
    assert ledger.checkpoints == {3: found.digest}


def end_at(last: int) -> Callable[[int], None]:
    """To be called before each step: ends the run before step `last`."""

    def end(number: int) -> None:
        if number == last:
            raise KeyboardInterrupt

    return end


def test_other_bits_than_before_are_found_at_each_start_until_the_same_come_again(tmp_path: Path) -> None:
    keep(tmp_path / "undisturbed")
    expected = (tmp_path / "undisturbed/ledger.jsonl").read_bytes()
    output, earlier = tmp_path / "out", tmp_path / "out/ledger.earlier.jsonl"
    with pytest.raises(KeyboardInterrupt):
        keep(output, before_step=end_at(9))
    for done in (6, 9):
        shutil.rmtree(output / "checkpoints" / checkpoint_name(done), ignore_errors=True)
    with pytest.raises(KeyboardInterrupt):
        keep(output, before_step=end_at(3))  # ended before it has done anything again
    for _ in range(2):
        with pytest.raises(DoesNotHoldError, match="step 4 gives other bits here"):
            keep(output, loss=lambda number: number + float(number == 4))
        assert b'"step":4' in earlier.read_bytes()
        assert b'"step":4' not in (output / "ledger.jsonl").read_bytes()
    keep(output)
    assert (output / "ledger.jsonl").read_bytes() == expected
    assert not earlier.exists()


def test_a_checkpoint_that_has_other_bits_than_before_never_stands(tmp_path: Path) -> None:
    keep(tmp_path / "undisturbed")
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        keep(output, before_step=end_at(8))
    shutil.rmtree(output / "checkpoints" / checkpoint_name(6))
    for _ in range(2):
        with pytest.raises(DoesNotHoldError, match="the checkpoint after step 6 has other bits here"):
            keep(output, state_of=lambda done: state_after(done + 100 * (done == 6)))
        assert [path.name for path in checkpoint_folders(output / "checkpoints")] == [checkpoint_name(3)]
    keep(output)
    assert (output / "ledger.jsonl").read_bytes() == (tmp_path / "undisturbed/ledger.jsonl").read_bytes()


def test_what_is_saved_never_changes_whatever_training_does_to_its_memory(tmp_path: Path) -> None:
    gate = threading.Event()

    def wait_at_the_gate(_folder: Path, _name: str) -> None:
        assert gate.wait(10)

    writer = CheckpointWriter(tmp_path, before_name=wait_at_the_gate)
    state = state_after(1)
    for step in (1, 2):  # the second is copied into the memory of the first
        state["step"] = np.array(step)
        digest = state_digest(state)
        gate.clear()
        writer.submit(step, state)
        state["model/w"] += 7
        assert writer.collect(wait=False) is None
        with pytest.raises(RuntimeError, match="in flight"):
            writer.submit(3, state)
        gate.set()
        assert writer.collect(wait=True) == (step, digest)
        assert state_digest(state) != digest
    writer.close()
    assert [read_checkpoint(path).tensors["model/w"][0] for path in checkpoint_folders(tmp_path)] == [8, 1]


def test_leftovers_of_killed_writes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    keep(tmp_path / "out")
    folder = tmp_path / "out/checkpoints"
    before = sorted(folder.iterdir())
    (folder / ".step-00000099.partial").mkdir()
    (folder / ".step-00000099.partial/state.safetensors").write_bytes(b"torn")
    CheckpointWriter(folder).close()
    assert sorted(folder.iterdir()) == before and len(before) == 4


@dataclass
class Spied(TorchBackend):
    """Notes which step is dispatched, which is read, and when the state is exported."""

    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(MODEL, Recipe(Sgd(0.9, 0.0)))

    def apply(self, state: Any, sums: Any, rate: float) -> Any:
        self.calls.append(f"dispatch {state.step}")
        new = super().apply(state, sums, rate)
        self.of = {**getattr(self, "of", {}), id(sums): state.step}
        self.kept = [*getattr(self, "kept", []), sums]
        return new

    def gradient_sums(self, sums: Any) -> dict[str, int]:
        self.calls.append(f"read {self.of[id(sums)]}")
        return super().gradient_sums(sums)

    def export(self, state: Any) -> dict[str, Any]:
        self.calls.append(f"export {state.step}")
        return super().export(state)


def test_a_step_is_read_when_the_next_was_dispatched_and_before_a_checkpoint(
    snapshot: OpenSnapshot, tmp_path: Path
) -> None:
    backend = Spied()
    batches = Batches(snapshot, "train", seed=1, batch_size=32)
    plan = Plan(1, 5, 32, 4, 3, Schedule(0.01, "linear", 5), MODEL, Recipe(Sgd(0.9, 0.0)))
    train(plan, backend, batches, begin(tmp_path, HEADER), tmp_path, partial(print, end=""))
    first = ["dispatch 0", "dispatch 1", "read 0", "dispatch 2", "read 1", "read 2", "export 3"]
    assert backend.calls == [*first, "dispatch 3", "dispatch 4", "read 3", "read 4", "export 5"]
