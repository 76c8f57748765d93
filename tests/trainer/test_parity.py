"""Both backends from one start: distances in units in the last place, and a drift that stays small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import CONFIG, environment

from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.training.parity import ulp_distance

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(FLOATS, st.integers(0, 50))
def test_the_distance_counts_the_floats_between(start: float, count: int) -> None:
    one = other = np.array([start], np.float32)
    for _ in range(count):
        other = np.nextafter(other, np.float32(np.finfo(np.float32).max))
    expected = count if other[0] < np.finfo(np.float32).max else ulp_distance(one, other)[0]
    assert ulp_distance(one, other)[0] == ulp_distance(other, one)[0] == expected


def test_both_zeros_are_one_number() -> None:
    assert ulp_distance(np.array([-0.0], np.float32), np.array([0.0], np.float32))[0] == 0


def test_parity_reports_a_drift_that_stays_small(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.replace('kind = "adamw"', 'kind = "sgd"\nmomentum = 0.9'))
    command = [sys.executable, "-m", "reprise_trainer", "parity", str(path), str(snapshot.folder)]
    command += ["--steps", "4", "--json"]
    process = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    rows = [json.loads(line) for line in process.stdout.splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert 0 < row["differing"] <= 1 and 0 < row["largest_difference"] < 1e-4
        assert abs(row["losses"][0] - row["losses"][1]) < 1e-4


def test_a_model_for_one_framework_has_no_parity(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    own = "[model]\nkind = 'own'\nmodel = 'a:b'\nloss = 'a:c'\n\n"
    path.write_text(CONFIG[: CONFIG.index("[model]")] + own + CONFIG[CONFIG.index("[train]") :])
    command = [sys.executable, "-m", "reprise_trainer", "parity", str(path), str(snapshot.folder)]
    process = subprocess.run(command, env=environment(), check=False, capture_output=True, text=True)
    assert process.returncode == 65
    assert "a model of your own is written for one framework" in process.stderr and "Traceback" not in process.stderr
