"""Starting from another run's checkpoint: which tensors are taken, what is refused, and what is recorded of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.trainer.conftest import CONFIG, command, environment

from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.training.checkpoints.checkpoint import Checkpoint, read_checkpoint
from reprise_trainer.training.checkpoints.names import checkpoint_name
from reprise_trainer.training.ledger import read_ledger
from reprise_trainer.training.start import merge


def state(value: float, head: int = 4) -> dict[str, np.ndarray]:
    return {
        "step": np.array(int(value)),
        "model/conv1.weight": np.full((2, 3), value, np.float32),
        "model/head.weight": np.full(head, value, np.float32),
        "ema/conv1.weight": np.full((2, 3), value / 2, np.float32),
        "ema/head.weight": np.full(head, value / 2, np.float32),
        "buffer/norm.mean": np.full(3, value, np.float32),
        "optimizer/mean/conv1.weight": np.full((2, 3), value, np.float32),
    }


@pytest.mark.parametrize(
    ("include", "exclude", "taken"),
    [
        (["*"], [], {"model/conv1.weight", "model/head.weight", "buffer/norm.mean"}),
        (["conv*"], [], {"model/conv1.weight"}),
        (["*"], ["head.*", "norm*"], {"model/conv1.weight"}),
        (["model/*", "optimizer/*"], ["*head*"], {"model/conv1.weight", "optimizer/mean/conv1.weight"}),
        (["ema/conv?.weight"], [], {"ema/conv1.weight"}),
    ],
)
def test_globs_choose_what_is_taken(include: list[str], exclude: list[str], taken: set[str]) -> None:
    merged, names = merge(state(1), state(8), include, exclude)
    assert set(names) == taken
    averages = {name.replace("model/", "ema/") for name in taken if name.startswith("model/")}
    for name, tensor in merged.items():
        expected = state(8)[name] if name in taken else state(1)[name]
        if name in averages - taken:  # an average begins as the parameter that was taken
            expected = state(8)[name.replace("ema/", "model/")]
        assert np.array_equal(tensor, expected), name


def test_the_step_is_never_taken() -> None:
    merged, names = merge(state(1), state(8), ["*", "*/*"], [])
    assert merged["step"] == 1 and "step" not in names


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(InputError, match=r"'model/head.weight' is float32 \(4,\), this run's is float32 \(5,\)"):
        merge(state(1, head=5), state(8), ["*"], [])
    with pytest.raises(InputError, match="no tensor 'model/extra'"):
        merge(state(1), {**state(8), "model/extra": np.zeros(1)}, ["*"], [])
    with pytest.raises(InputError, match=r"'cnv[*]' chooses nothing of buffer/norm.mean"):
        merge(state(1), state(8), ["cnv*"], [])
    assert len(merge(state(1, head=5), state(8), ["*"], ["head*"])[1]) == 2


SGD = CONFIG.replace('kind = "adamw"', 'kind = "sgd"').replace("weight_decay = 0.01", "")
FROZEN = SGD.replace("lr = 0.01", "lr = 1e-38")
"""Steps so small that no weight moves: what comes out is what training started from."""


def test_a_run_starts_from_anothers_checkpoint_and_its_ledger_names_it(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    def run(name: str, config: str, *start: Path) -> tuple[Checkpoint, list[dict[str, object]]]:
        argv = [*command(config, snapshot, tmp_path / name), *map(str, start)]
        done = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return read_checkpoint(tmp_path / name / "checkpoints" / checkpoint_name(2)), events

    base, _ = run("base", CONFIG.replace("epochs = 3", "steps = 2"))
    fresh, _ = run("fresh", FROZEN.replace("epochs = 3", "steps = 2"))
    config = FROZEN.replace("epochs = 3", "steps = 2") + (
        f'\n[start]\ncheckpoint = "base"\nstate = "{base.digest}"\nexclude = ["*bias"]\n'
    )
    child, events = run("child", config, tmp_path / "base/checkpoints" / checkpoint_name(2))

    biases = {name for name in child.tensors if name.startswith("model/") and name.endswith("bias")}
    weights = {name for name in child.tensors if name.startswith("model/")} - biases
    assert biases and weights
    for name in biases | weights:
        source = fresh if name in biases else base
        assert np.array_equal(child.tensors[name], source.tensors[name]), name
    header = read_ledger((tmp_path / "child/ledger.jsonl").read_bytes()).header
    assert header.parent == base.digest
    assert b"parent" not in (tmp_path / "base/ledger.jsonl").read_bytes()
    assert events[-1]["parent"] == [base.digest, 2, sorted(weights)]

    for wrong, start in ((config.replace(base.digest, fresh.digest), "base"), (config, "nowhere")):
        folder = tmp_path / start / "checkpoints" / checkpoint_name(2)
        argv = [*command(wrong, snapshot, tmp_path / f"refused-{start}"), str(folder)]
        done = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True, timeout=300)
        assert done.returncode == (78 if start == "base" else 65) and "Traceback" not in done.stderr, done.stderr
