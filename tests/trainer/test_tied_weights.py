"""Tied weights: every checkpoint stores them once, with their second name beside, whyever it was made."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.trainer.own_models import held

from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import StoppedError
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, checkpoint_name
from reprise_trainer.training.failure import FOLDER, write_failure
from reprise_trainer.training.ledger import Header
from reprise_trainer.training.loop import train
from reprise_trainer.training.reading import NotFiniteError
from reprise_trainer.training.resume import INTERRUPTED, begin
from reprise_trainer.training.stop import Stop

HEADER = Header("sha256:" + "a" * 64, "sha256:" + "b" * 64, "sha256:" + "c" * 64, 1)


def model(key: Any) -> torch.nn.Module:
    module = torch.nn.Sequential(torch.nn.Linear(784, 784, bias=False), torch.nn.Linear(784, 784, bias=False))
    module[1].weight = module[0].weight
    return module


def loss(model: Any, batch: Any, key: Any) -> tuple[Any, int]:
    x = batch["image"].flatten(1) / 255
    scale = 1e38 if scaled else 1.0
    return ((model(x) - x) * scale).square().sum() / 784, len(x)


scaled: list[bool] = []
"""Holds something where the loss is to overflow."""


@pytest.fixture(autouse=True)
def plain() -> None:
    scaled.clear()


def trained(snapshot: OpenSnapshot, output: Path, stop: Stop | None = None) -> None:
    plan, backend = held(__name__, "model", "loss")
    batches = Batches(snapshot, "train", seed=1, batch_size=32)
    try:
        train(plan, backend, batches, begin(output, HEADER), output, lambda event: None, stop=stop)
    except NotFiniteError as error:
        raise write_failure(output, b"", error) from None


def aliases(folder: Path, step: int) -> dict[str, str]:
    return dict(read_checkpoint(folder / checkpoint_name(step)).aliases)


TIED = {"model/1.weight": "model/0.weight"}


def test_a_checkpoint_of_the_runs_own_rhythm(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    trained(snapshot, tmp_path)
    assert aliases(tmp_path / CHECKPOINTS, 6) == TIED


def test_one_that_a_signal_asked_for(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    stop = Stop()
    stop.request(signal.SIGTERM)
    with pytest.raises(StoppedError):
        trained(snapshot, tmp_path, stop)
    assert aliases(tmp_path / INTERRUPTED, 1) == TIED


def test_one_that_a_failure_left(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    scaled.append(True)
    with pytest.raises(NotFiniteError):
        trained(snapshot, tmp_path)
    assert aliases(tmp_path / FOLDER, 0) == TIED
