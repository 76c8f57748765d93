"""Which checkpoints are kept; the newest always is, and damage is noticed before anything is removed."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import environment

from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError
from reprise_trainer.training.checkpoints.checkpoint import write_checkpoint
from reprise_trainer.training.checkpoints.names import checkpoint_folders, checkpoint_name, checkpoint_step
from reprise_trainer.training.checkpoints.retention import BestLosses, Retention, pin, pins, remove_old, unpin

STEPS = st.sets(st.integers(1, 60), min_size=1, max_size=20)


@given(
    steps=STEPS, last=st.integers(1, 5), every=st.none() | st.integers(1, 10), best=st.integers(0, 3), data=st.data()
)
def test_what_is_kept_is_what_the_rule_says(
    steps: set[int], last: int, every: int | None, best: int, data: st.DataObject
) -> None:
    losses = {step: data.draw(st.sampled_from([0.5, 1.0, 2.0])) for step in steps}
    pinned = data.draw(st.sets(st.sampled_from(sorted(steps))))
    removed = set(Retention(last, every, best).removable(steps, losses, pinned))
    kept = steps - removed
    assert set(sorted(steps)[-last:]) <= kept and pinned <= kept
    assert every is None or {step for step in steps if step % every == 0} <= kept
    ranked = sorted(steps, key=lambda step: (losses[step], step))
    assert set(ranked[:best]) <= kept
    reasons = {*sorted(steps)[-last:], *ranked[:best], *pinned, *(s for s in steps if every and s % every == 0)}
    assert kept == reasons


@given(STEPS)
def test_without_a_rule_all_are_kept(steps: set[int]) -> None:
    assert Retention().removable(steps, {}, ()) == ()


def test_the_mean_loss_is_that_since_the_checkpoint_before() -> None:
    lines = [{"step": 0, "loss": (1.0).hex()}, {"step": 1, "loss": (2.0).hex()}, {"checkpoint": 2}]
    losses = BestLosses("loss", [*lines, {"step": 2, "loss": (0.25).hex(), "validation": (9.0).hex()}])
    losses.add(0.75)
    losses.end(4)
    losses.end(4)  # no step since: nothing changes
    assert losses.of == {2: 1.5, 4: 0.5}


def test_a_checkpoint_has_the_validation_after_its_own_last_step_and_no_other() -> None:
    lines = [
        {"step": 0, "loss": (1.0).hex(), "validation": (7.0).hex()},  # of a state that is no checkpoint
        {"step": 1, "loss": (1.0).hex(), "validation": (0.5).hex()},
        {"checkpoint": 2},
        {"step": 2, "loss": (0.25).hex(), "validation": (0.125).hex()},
    ]
    losses = BestLosses("validation", lines)
    losses.add(0.25)
    losses.end(4)  # not validated: the loss after step 2 is another state's
    losses.add(0.25, math.nan)
    losses.end(5)
    losses.add(0.25, 0.5)
    losses.end(6)
    assert losses.of == {2: 0.5, 6: 0.5}
    assert Retention(1, None, 1, "validation").removable((2, 4, 5, 6, 7), losses.of, ()) == (4, 5, 6)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in (1, 2, 3, 4):
        write_checkpoint(tmp_path, step, {"w": np.full(10, step), "step": np.array(step)})
    return tmp_path


def left(folder: Path) -> list[int]:
    return sorted(map(checkpoint_step, checkpoint_folders(folder)))


def test_old_ones_are_removed_and_a_pinned_one_stays_until_its_pin_goes(folder: Path) -> None:
    pin(folder / checkpoint_name(2), "before the learning rate changed")
    remove_old(folder, Retention(1), {})
    assert left(folder) == [2, 4] and pins(folder) == {2: "before the learning rate changed"}
    unpin(folder / checkpoint_name(2))
    with pytest.raises(NotFoundError, match="not pinned"):
        unpin(folder / checkpoint_name(2))
    remove_old(folder, Retention(1), {})
    assert sorted(path.name for path in folder.iterdir()) == [checkpoint_name(4)]


def test_nothing_is_removed_when_the_newest_is_damaged(folder: Path) -> None:
    path = folder / checkpoint_name(4) / "state.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DoesNotHoldError, match="step-00000004"):
        remove_old(folder, Retention(1), {})
    assert left(folder) == [1, 2, 3, 4]


def test_a_damaged_checkpoint_is_not_pinned(folder: Path) -> None:
    (folder / checkpoint_name(3) / "state.json").write_bytes(b"{}")
    with pytest.raises(InputError):
        pin(folder / checkpoint_name(3), "")
    assert pins(folder) == {}


def test_the_command_pins_one_checkpoint(folder: Path) -> None:
    def command(*arguments: object) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "reprise_trainer", "checkpoint", "pin", *map(str, arguments)]
        return subprocess.run(argv, check=False, capture_output=True, text=True, env=environment())

    assert command(folder / checkpoint_name(2), "--reason", "good").returncode == 0
    assert pins(folder) == {2: "good"}
    assert command(folder / checkpoint_name(2), "--remove").returncode == 0
    assert pins(folder) == {}
    several = command(folder)
    assert several.returncode == 66 and "name the one to pin" in several.stderr
