"""Accuracy and mean loss of a classifier on a split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reprise_trainer.backends.interface import Backend, State
from reprise_trainer.data.batches import Column


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Correct records, all records, and their mean loss."""

    correct: int
    total: int
    loss: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    def metrics(self) -> dict[str, str | int]:
        """The values for a record: counts as integers, the loss as a hex float, the accuracy in decimals for people."""
        return {
            "accuracy": f"{self.accuracy:.4f}",
            "correct": self.correct,
            "total": self.total,
            "loss": self.loss.hex(),
        }


def evaluate(
    backend: Backend, state: State, columns: Mapping[str, Column], *, records: int, batch_size: int
) -> Evaluation:
    """Evaluate `state` on the first `records` records of a split, in order.

    Every batch has `batch_size` records, since a matrix product's order of additions depends on its shape; the last is
    padded with record 0, whose results there are dropped. The losses are added exactly and rounded once (`math.fsum`),
    so their order doesn't matter. A record counts as its first class of the highest score.
    """
    correct = 0
    losses: list[float] = []
    for start in range(0, records, batch_size):
        numbers = np.arange(start, start + batch_size, dtype=np.int64)
        count = min(batch_size, records - start)
        numbers[count:] = 0
        fields = {name: column.take(numbers) for name, column in columns.items()}
        predictions = backend.predict(state, fields)
        correct += int((predictions.scores.argmax(axis=1)[:count] == fields["label"][:count]).sum())
        losses += predictions.losses[:count].tolist()
    return Evaluation(correct, records, math.fsum(losses) / records)
