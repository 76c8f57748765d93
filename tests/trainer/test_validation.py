"""Validation while a run trains, and early stopping: the same decision in every attempt, worker and replay."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import CONFIG, RunOnce

from reprise_trainer.config.read import read_config
from reprise_trainer.errors import InputError
from reprise_trainer.training.ledger import read_ledger
from reprise_trainer.training.validation import Validating, Validations, losses_until, validation_losses

VALIDATED = CONFIG + '\n[validation]\nevery = 4\nsplit = "test"\nbatch_size = 70\n'
STOPPING = VALIDATED.replace("lr = 0.01", "lr = 1.0") + "patience = 1\n"  # a rate at which the loss goes up and down


def test_the_ledger_holds_each_validations_loss(run_once: RunOnce) -> None:
    plain, validated = run_once(), run_once(VALIDATED)
    assert validated.code == 0, validated.error
    lines = read_ledger((validated.output / "ledger.jsonl").read_bytes()).lines
    assert [line["step"] + 1 for line in lines if "validation" in line] == list(range(4, 29, 4))
    assert validated.bits[1] == plain.bits[1]  # looking at a state changes no bit of it
    losses = validation_losses(lines)
    assert losses[-1] < losses[0]


def test_a_run_that_stops_learning_ends_early_and_stays_ended(run_once: RunOnce) -> None:
    first, second = run_once(STOPPING), run_once(STOPPING, workers=2)
    assert first.code == 0, first.error
    assert first.bits == second.bits
    data = (first.output / "ledger.jsonl").read_bytes()
    losses = validation_losses(read_ledger(data).lines)
    best = losses.index(min(losses))
    assert len(losses) == best + 2 and 4 * len(losses) < 29
    assert list(read_ledger(data).checkpoints)[-1] == 4 * len(losses)
    again = run_once(STOPPING, output=first.output)
    assert again.code == 0, again.error
    assert again.bits == first.bits and (again.output / "ledger.jsonl").read_bytes() == data


def test_the_best_checkpoint_is_that_with_the_lowest_validation(run_once: RunOnce) -> None:
    kept = "every = 4\nkeep_last = 1\nkeep_best = 1\nmetric = "
    by_loss = STOPPING.replace("patience = 1", "patience = 9").replace("every = 10", kept + '"loss"')
    by_validation = by_loss.replace('"loss"', '"validation"')
    first, second = run_once(by_loss), run_once(by_validation)
    assert second.code == 0, second.error
    losses = {
        line["step"] + 1: float.fromhex(line["validation"])
        for line in read_ledger((second.output / "ledger.jsonl").read_bytes()).lines
        if "validation" in line
    }
    best = min(losses, key=lambda done: (losses[done], done))
    left = [{path.name for path in (ran.output / "checkpoints").iterdir()} for ran in (first, second)]
    assert left[1] == {f"step-{best:08d}", "step-00000029"} != left[0]


def test_a_split_that_is_not_there_is_refused_before_training(run_once: RunOnce) -> None:
    ran = run_once(VALIDATED.replace('split = "test"', 'split = "other"', 1))
    assert ran.code == InputError.exit_code and "has no split 'other'" in ran.error


@given(losses=st.lists(st.integers(0, 5).map(float), max_size=12), patience=st.integers(1, 4))
def test_the_end_comes_when_the_lowest_loss_is_that_old(losses: list[float], patience: int) -> None:
    validating = Validating(1, patience, lambda state: 0.0)
    since_best, best = 0, float("inf")
    for loss in losses:
        since_best, best = (0, loss) if loss < best else (since_best + 1, best)
    assert validating.exhausted(losses) == (since_best >= patience)


@pytest.mark.parametrize(
    ("losses", "ends"),
    [([math.nan, 2.0, 1.0], False), ([2.0, 1.0, math.nan], False), ([1.0, math.nan, math.nan], True)],
)
def test_a_loss_that_is_no_number_is_never_the_lowest(losses: list[float], ends: bool) -> None:
    assert Validating(1, 2, lambda state: 0.0).exhausted(losses) is ends


def test_an_attempt_goes_on_counting_where_the_one_before_was() -> None:
    states = iter([3.0, 2.0, 2.0, 2.0])
    validating = Validating(10, 2, lambda state: next(states))
    whole = Validations(validating)
    assert [whole.after(done, None) for done in (5, 10, 15, 20, 30)] == [None, 3.0, None, 2.0, 2.0]
    assert not whole.exhausted()
    resumed = Validations(validating, [3.0, 2.0, 2.0])
    assert resumed.after(40, None) == 2.0 and resumed.exhausted()
    assert not Validations(None, [1.0] * 9).exhausted()


def test_other_workers_read_the_losses_from_the_ledger(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "validation": float(step).hex()}) for step in range(5)]
    (tmp_path / "ledger.jsonl").write_text("\n".join([json.dumps({"ledger": 1}), *lines, '{"step": 5, "vali']))
    assert losses_until(tmp_path / "ledger.jsonl", 3) == [0.0, 1.0, 2.0]


def test_patience_is_never_by_default() -> None:
    section = read_config(VALIDATED.encode(), where="x").validation
    assert section is not None and section.patience is None
