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
    """

    classes: int
    confusion: Counts = field(init=False)
    ranks: Counts = field(init=False)
    losses: list[float] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.confusion = np.zeros((self.classes, self.classes), np.int64)
        self.ranks = np.zeros(self.classes, np.int64)

    def add(self, labels: NDArray[np.generic], scores: NDArray[np.float32], losses: NDArray[np.float32]) -> None:
        """Count some records.

        Args:
            labels: integers (records,), the true classes.
            scores: (records, classes).
            losses: (records,).
        """
        truth = labels.astype(np.int64)
        np.add.at(self.confusion, (truth, scores.argmax(axis=1)), 1)
        own = np.take_along_axis(scores, truth[:, None], axis=1)
        earlier = np.arange(self.classes) < truth[:, None]
        higher = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
        self.ranks += np.bincount(higher, minlength=self.classes)
        self.losses += losses.tolist()

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
        """Mean loss, its sum added exactly and rounded once; 0 records have a mean of NaN."""
        return math.fsum(self.losses) / len(self.losses) if self.losses else math.nan
