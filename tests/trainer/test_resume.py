"""A run that was stopped goes on, and ends with the bytes of one that never was."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.trainer.conftest import SHA256
from tests.trainer.interrupted_runs import EVERY, STEPS, TINY, Runs, files_that_count

from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import DoesNotHoldError, RefusedError
from reprise_trainer.training.checkpoints.checkpoint import Tensors, read_checkpoint
from reprise_trainer.training.checkpoints.names import checkpoint_name
from reprise_trainer.training.ledger import Header
from reprise_trainer.training.records.attempts import read_attempts
from reprise_trainer.training.records.resources import interfaces
from reprise_trainer.training.resume import begin, write_interrupted
from reprise_trainer.training.stop import Stop

HEADER = Header(*("sha256:" + digit * 64 for digit in "123"), seed=7)


def state_after(done: int) -> Tensors:
    return {"model/w": np.full(3, done, np.float32), "step": np.array(done)}


@pytest.fixture(scope="module")
def runs(snapshot: OpenSnapshot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    found = Runs(snapshot, tmp_path_factory.mktemp("runs"), TINY.format(sha256=SHA256))
    yield found
    found.close()


@pytest.fixture(scope="module")
def undisturbed(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What counts of a run that nothing has happened to."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    ended = runs.start(output)
    assert ended.code == 0, ended.error
    assert ended.result["attempts"] == [["finished", 0, STEPS]]
    assert [each.network for each in read_attempts(output)] == [interfaces()]
    return files_that_count(output)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_stopped_run_exits_75_and_goes_on_from_the_very_step(
    number: signal.Signals, runs: Runs, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    stopped = runs.start(output, signal_at=("step", 5, number))
    assert stopped.code == 75
    assert f"stopped by {number.name} after step" in stopped.error and "Traceback" not in stopped.error
    at = read_attempts(output)[0].last_step
    assert 5 <= at < STEPS and at % EVERY, "this test is about a step without a checkpoint of its own"
    assert (output / "interrupted" / checkpoint_name(at)).is_dir()

    ended = runs.start(output)
    assert ended.code == 0, ended.error
    assert [event["step"] for event in ended.of_kind("resumed")] == [at]
    assert files_that_count(output) == undisturbed
    assert not (output / "interrupted").exists()
    assert [each[1:] for each in ended.result["attempts"]] == [[0, at], [at, STEPS]]
    assert number.name in ended.result["attempts"][0][0]


def test_a_run_that_is_started_again_after_its_end_is_the_same(
    runs: Runs, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    first, second = runs.start(output), runs.start(output)
    assert first.code == second.code == 0
    assert not second.of_kind("step")
    assert {**second.result, "attempts": 0, "reused": []} == {**first.result, "attempts": 0}
    assert second.result["reused"] == ["evaluate"]
    assert files_that_count(output) == undisturbed


@pytest.mark.parametrize("damage", ["flip", "tear", "remove"])
def test_a_damaged_checkpoint_is_passed_over_and_said(
    damage: str, runs: Runs, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    runs.start(output, signal_at=("checkpoint", 8, signal.SIGKILL))
    newest = output / "checkpoints" / checkpoint_name(8) / "state.safetensors"
    data = newest.read_bytes()
    match damage:
        case "flip":
            newest.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
        case "tear":
            newest.write_bytes(data[: len(data) // 2])
        case "remove":
            newest.unlink()
    ended = runs.start(output)
    assert ended.code == 0, ended.error
    passed_over, goes_on = ended.of_kind("resumed")
    assert str(newest.parent) in passed_over["message"] and goes_on["message"] == "goes on after step 4"
    assert files_that_count(output) == undisturbed
    assert newest.parent.with_name(newest.parent.name + ".damaged").is_dir()


def test_a_damaged_checkpoint_of_a_stopped_run_leaves_its_number_free(tmp_path: Path) -> None:
    begin(tmp_path, HEADER).ledger.close()
    write_interrupted(tmp_path, 3, state_after(3))
    folder = tmp_path / "interrupted" / checkpoint_name(3)
    (folder / "state.safetensors").write_bytes(b"torn")
    beginning = begin(tmp_path, HEADER)
    assert beginning.step == 0 and str(folder) in beginning.messages[0]
    assert folder.with_name(folder.name + ".damaged").is_dir()
    write_interrupted(tmp_path, 3, state_after(3))
    assert read_checkpoint(folder).step == 3


def test_without_any_whole_checkpoint_the_run_starts_again(
    runs: Runs, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    runs.start(output, signal_at=("checkpoint", 4, signal.SIGKILL))
    (output / "checkpoints" / checkpoint_name(4) / "state.json").write_bytes(b"{}")
    ended = runs.start(output)
    assert ended.of_kind("resumed")[-1]["message"] == "no whole checkpoint: starts again at the first step"
    assert files_that_count(output) == undisturbed


def test_a_step_that_gives_other_bits_than_before_is_found_at_each_start(
    runs: Runs, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    runs.start(output, signal_at=("checkpoint", 8, signal.SIGKILL))
    path = output / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    shutil.rmtree(output / "checkpoints" / checkpoint_name(8))
    changed = json.loads(lines[6])  # step 4 stands behind the line of checkpoint 4
    assert changed["step"] == 4
    path.write_text("".join(lines[:6]) + json.dumps({**changed, "chain": "0" * 64}) + "\n" + "".join(lines[7:]))
    for _ in range(2):  # a scheduler starts it again
        ended = runs.start(output)
        assert ended.code == 1
        assert "step 4 gives other bits here than before the run was interrupted" in ended.error
    (output / "ledger.earlier.jsonl").write_text("".join(lines[6:]))
    assert runs.start(output).code == 0
    assert files_that_count(output) == undisturbed
    assert not (output / "ledger.earlier.jsonl").exists()


def test_another_run_in_the_folder_refuses_and_names_what_differs(tmp_path: Path) -> None:
    begin(tmp_path, HEADER).ledger.close()
    before = (tmp_path / "ledger.jsonl").read_bytes()
    for field, value in {"config": "sha256:x", "snapshot": "sha256:x", "image": "sha256:x", "seed": 8}.items():
        other = replace(HEADER, **{field: value})  # type: ignore[arg-type]
        with pytest.raises(RefusedError, match=f"its {field} is"):
            begin(tmp_path, other)
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert begin(tmp_path, HEADER).step == 0


@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_header_that_a_loss_of_power_has_torn_is_written_again(length: int, tmp_path: Path) -> None:
    begin(tmp_path / ".", HEADER).ledger.close()
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    begin(tmp_path, HEADER).ledger.close()
    assert path.read_bytes() == whole


def test_a_checkpoint_that_the_ledger_does_not_reach_is_an_error(runs: Runs, tmp_path: Path) -> None:
    output = tmp_path / "out"
    runs.start(output, signal_at=("checkpoint", 8, signal.SIGKILL))
    path = output / "ledger.jsonl"
    data = path.read_bytes()
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:6]))
    ended = runs.start(output)
    assert ended.code == DoesNotHoldError.exit_code and "does not reach the checkpoint after step 8" in ended.error


def test_a_second_interrupt_does_not_wait() -> None:
    stop = Stop()
    stop.request(signal.SIGTERM)
    stop.request(signal.SIGTERM)
    assert stop.signal == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt):
        stop.request(signal.SIGINT)
