"""Comparing two states: the first element, its two values and their distance."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import environment

from reprise_trainer.training.checkpoints.checkpoint import write_checkpoint
from reprise_trainer.training.checkpoints.state_compare import compare_states, ulps_apart


def one(left: np.ndarray, right: np.ndarray) -> str:
    (difference,) = compare_states({"w": left}, {"w": right})
    return str(difference)


def test_equal_bits_are_equal_nan_too() -> None:
    state = {"w": np.array([np.nan, 0.0, -0.0, np.inf], np.float32), "step": np.array(3)}
    assert compare_states(state, {name: value.copy() for name, value in state.items()}) == ()


def test_the_first_element_is_named_with_both_values_and_their_distance() -> None:
    left = np.ones((3, 4), np.float32)
    right = left.copy()
    right[1, 2] = np.nextafter(np.float32(1), np.float32(2))
    right[2, 3] = np.float32(1 + 2**-20)
    said = one(left, right)
    assert said.startswith(
        "w[1, 2]: 1.0 (0x1.0000000000000p+0) against 1.0000001192092896 (0x1.0000020000000p+0), 1 ULP"
    )
    assert said.endswith("2 of 12 elements differ, by at most 8 ULPs")


def test_zeros_of_two_signs_differ_by_no_step_and_a_nan_by_none_that_can_be_told() -> None:
    assert ", 0 ULPs apart" in one(np.array([0.0]), np.array([-0.0]))
    assert "against NaN (bits 0x7fc00000), not comparable apart" in one(
        np.array([1.0], np.float32), np.array([np.nan], np.float32)
    )


def test_what_cannot_be_compared_says_why() -> None:
    w = np.zeros(3, np.float32)
    found = compare_states({"a": w, "b": w, "c": w}, {"b": w.astype(np.float64), "c": w[:2], "d": w})
    assert [str(each) for each in found] == [
        "a: only the first state has it",
        "b: float32 (3,) against float64 (3,)",
        "c: float32 (3,) against float32 (2,)",
        "d: only the second state has it",
    ]


@given(st.floats(-(2.0**126), 2.0**126, width=32), st.integers(0, 50))  # so that no step leads to infinity
def test_a_distance_counts_the_numbers_between(start: float, count: int) -> None:
    left = right = np.float32(start)
    for _ in range(count):
        right = np.nextafter(right, np.float32(np.inf), dtype=np.float32)
    for a, b in ((left, right), (right, left)):
        assert int(ulps_apart(np.array([a]), np.array([b]))[0]) == count


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integers_are_as_far_apart_as_they_are(a: int, b: int) -> None:
    assert int(ulps_apart(np.array([a]), np.array([b]))[0]) == abs(a - b)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "reprise_trainer", *map(str, arguments)]
    return subprocess.run(argv, check=False, capture_output=True, text=True, env=environment())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ in one element after step 2, and a damaged third."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("a", "b", "damaged"):
        for step in (1, 2):
            tensor = np.ones((2, 3), np.float32)
            if (name, step) == ("b", 2):
                tensor[1, 0] = np.float32(1 - 2**-24)
            write_checkpoint(folder / name / "checkpoints", step, {"model/w": tensor, "step": np.array(step)})
    (folder / "damaged/checkpoints/step-00000002/state.json").write_bytes(b"{}")
    return folder


def test_diff_says_where_two_runs_parted(runs: Path) -> None:
    equal = command("checkpoint", "diff", *(runs / name / "checkpoints/step-00000001" for name in "ab"))
    assert (equal.returncode, equal.stderr) == (0, "") and equal.stdout.startswith(
        "the same state after step 1: sha256:"
    )
    differing = command("checkpoint", "diff", runs / "a", runs / "b")
    assert (differing.returncode, differing.stderr) == (1, "")
    assert "model/w[1, 0]: 1.0 (0x1.0000000000000p+0) against 0.9999999403953552" in differing.stdout
    (found,) = json.loads(command("checkpoint", "diff", runs / "a", runs / "b", "--json").stdout)["differences"]
    assert (found["name"], found["index"], found["ulps"]) == ("model/w", [1, 0], 1)


def test_verify_names_what_is_damaged_and_diff_takes_the_one_before(runs: Path, tmp_path: Path) -> None:
    good = command("checkpoint", "verify", runs / "a")
    assert good.returncode == 0 and len(good.stdout.splitlines()) == 2
    bad = command("checkpoint", "verify", runs / "damaged")
    assert bad.returncode == 1 and "damaged: " in bad.stdout and "step-00000002" in bad.stdout
    assert command("checkpoint", "diff", runs / "damaged", runs / "a/checkpoints/step-00000001").returncode == 0
    absent = command("checkpoint", "verify", tmp_path)
    assert absent.returncode == 66 and "neither a checkpoint nor a run" in absent.stderr
