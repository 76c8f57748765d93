"""Evaluation: integer counts and an exact sum, whatever the batch size pads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from tests.trainer.conftest import RECORDS

from reprise_trainer.backends.interface import Predictions
from reprise_trainer.data.batches import Fields, open_columns
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.evaluation.accuracy import evaluate


@dataclass
class Oracle:
    """Stands in for a trained backend: right on labels below 7, with a loss that tells records apart."""

    seen: list[int]

    def predict(self, state: object, fields: Fields) -> Predictions:
        labels = fields["label"].astype(np.int64)
        self.seen.append(len(labels))
        scores = np.zeros((len(labels), 10), np.float32)
        scores[np.arange(len(labels)), np.where(labels < 7, labels, 0)] = 1
        losses = fields["image"].reshape(len(labels), -1)[:, :64].astype(np.float32).sum(axis=1) / np.float32(3)
        return Predictions(scores, losses)


@pytest.mark.parametrize("batch_size", [1, 7, 70, 71, 500])
def test_padding_counts_nothing(snapshot: OpenSnapshot, batch_size: int) -> None:
    oracle, columns = Oracle([]), open_columns(snapshot, "test")
    found = evaluate(oracle, None, columns, records=RECORDS["test"], batch_size=batch_size)  # type: ignore[arg-type]
    everything = np.arange(RECORDS["test"])
    fields = {name: column.take(everything) for name, column in columns.items()}
    losses = oracle.predict(None, fields).losses
    assert set(oracle.seen[:-1]) == {batch_size}
    assert found.correct == int((fields["label"] < 7).sum())
    assert found.total == RECORDS["test"]
    assert found.loss == float(sum(Fraction(float(loss)) for loss in losses)) / found.total
    assert math.isclose(float(found.metrics()["accuracy"]), found.accuracy, abs_tol=5e-5)
