"""What an evaluation counts: integers, and losses that are added exactly. So order and batch size never matter."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(slots=True)
class Tally:
    """Counts over the records seen so far.

    `confusion[i, j]` counts records of class i that were taken for class j: int64 (classes, classes). `ranks[k]` counts
    records whose own class has k classes with a higher score: int64 (classes,). A record is taken for its first class
    of the highest score, and among equal scores the earlier class counts as higher.
    `losses` are sums, `weights` what they weigh.
    """

    classes: int
    confusion: Counts = field(init=False)
    ranks: Counts = field(init=False)
    losses: list[float] = field(init=False, default_factory=list)
    weights: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes), np.int64)
        self.ranks = np.zeros(self.classes, np.int64)

    def add_losses(self, losses: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
        """Count some losses: sums, and what each sum weighs (records, tokens); both of one shape (n,)."""
        self.losses += losses.tolist()
        self.weights += weights.tolist()

    def add(self, labels: NDArray[np.generic], scores: NDArray[np.float32]) -> None:
        """Count some records, or a language model's tokens.

        Args:
            labels: integers (records,), the true classes.
            scores: (records, classes).
        """
        truth = labels.astype(np.int64)
        np.add.at(self.confusion, (truth, scores.argmax(axis=1)), 1)
        own = np.take_along_axis(scores, truth[:, None], axis=1)
        earlier = np.arange(self.classes) < truth[:, None]
        higher = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
        self.ranks += np.bincount(higher, minlength=self.classes)

    @property
    def total(self) -> int:
        """Records seen."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Records taken for their own class."""
        return int(self.confusion.trace())

    @property
    def loss(self) -> float:
        """Mean loss, both sums added exactly and rounded once; 0 records have a mean of NaN."""
        weight = math.fsum(self.weights)
        return math.fsum(self.losses) / weight if weight else math.nan
