"""A trained model on a split: its counts, the metrics that were asked for, and how it treats groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import WEIGHT, Backend, Predictions, State
from reprise_trainer.data.batches import Column, Fields
from reprise_trainer.errors import InputError
from reprise_trainer.evaluation.fairness import Fairness, judge_fairness
from reprise_trainer.evaluation.metrics import METRICS
from reprise_trainer.evaluation.privacy import MembershipRisk
from reprise_trainer.evaluation.tally import Tally


@dataclass(frozen=True, slots=True)
class Group:
    """The snapshot's group column: its name, and the names of its values where the snapshot has them."""

    column: str
    names: tuple[str, ...] = ()

    def name(self, value: int) -> str:
        """What the group of `value` is called."""
        return self.names[value] if self.names else str(value)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was counted on one split; `fairness` and `membership` are None where they weren't asked for, `own` is
    what the user's own function gave."""

    tally: Tally
    values: Mapping[str, float]
    fairness: Fairness | None = None
    membership: MembershipRisk | None = None
    own: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        return self.tally.correct / self.tally.total

    def metrics(self) -> dict[str, str | int]:
        """The values for a record: counts as integers, the accuracy in decimals for people, all else as hex floats."""
        loss = {"loss": self.tally.loss.hex()}
        if not self.tally.total:  # a user's model says its loss alone
            return {**loss, **self.own}
        return {
            "accuracy": f"{self.accuracy:.4f}",
            "correct": self.tally.correct,
            "total": self.tally.total,
            **loss,
            **{name: value.hex() for name, value in self.values.items() if name not in ("accuracy", "log_loss")},
            **self.own,
        }

    def facts(self) -> dict[str, Any]:
        """Everything for a record: `metrics`, and what else was asked for."""
        return {
            "metrics": self.metrics(),
            "fairness": None if self.fairness is None else self.fairness.facts(),
            "membership": None if self.membership is None else self.membership.facts(),
        }


def evaluate(
    backend: Backend,
    state: State,
    columns: Mapping[str, Column],
    *,
    records: int,
    batch_size: int,
    classes: int,
    metrics: tuple[str, ...] = (),
    group: Group | None = None,
    preprocess: Callable[[Fields], Fields] | None = None,
) -> Evaluation:
    """Evaluate `state` on the first `records` records of a split, in order.

    Every batch has `batch_size` records, since a matrix product's order of additions depends on its shape; the last is
    padded with record 0, which weighs nothing there. Counts are integers and losses are added exactly, so the
    order of records doesn't matter. A record whose field `weight` is 0 counts nowhere; any other weight counts in the
    loss alone, since counts are of whole records.

    Args:
        columns: field name → column of the split.
        classes: how many there are; 0 where only losses are asked for.
        metrics: names from `METRICS`.
        group: the column whose values are compared; None compares nothing.
        preprocess: maps each batch's fields to those that the model gets; None leaves them as they are.

    Raises:
        InputError: no record counts, or the field `weight` is no number a record.
    """
    whole, groups = Tally(classes), dict[int, Tally]()
    for fields, count, found in predictions(backend, state, columns, records, batch_size, preprocess):
        counted = np.flatnonzero(found.weights[:count])
        _add(whole, found, counted)
        if group is not None:
            values = fields[group.column][counted]
            for value in np.unique(values):
                _add(groups.setdefault(int(value), Tally(classes)), found, counted[values == value])
    if not whole.losses:
        raise InputError("nothing can be measured on the split: each of its records has a weight of 0")
    fairness = None
    if group is not None:
        fairness = judge_fairness(group.column, {group.name(value): tally for value, tally in groups.items()})
    return Evaluation(whole, {name: METRICS[name](whole) for name in metrics}, fairness)


def predictions(
    backend: Backend,
    state: State,
    columns: Mapping[str, Column],
    records: int,
    batch_size: int,
    preprocess: Callable[[Fields], Fields] | None = None,
) -> Iterator[tuple[Fields, int, Predictions]]:
    """Each batch of a split in order: its fields as stored, how many of its records count, and what the model says."""
    for start in range(0, records, batch_size):
        numbers = np.arange(start, start + batch_size, dtype=np.int64)
        count = min(batch_size, records - start)
        numbers[count:] = 0
        fields = {name: column.take(numbers) for name, column in columns.items()}
        given = dict(preprocess(fields) if preprocess else fields)
        given[WEIGHT] = np.where(np.arange(batch_size) < count, record_weights(given, batch_size), np.float32(0))
        yield fields, count, backend.predict(state, given)


def record_weights(given: Fields, records: int) -> NDArray[np.float32]:
    """What each record of a batch weighs by its own field, 1 without one.

    Raises:
        InputError: the field holds more or less than one number a record.
    """
    weights = np.asarray(given.get(WEIGHT, np.ones(records)), np.float32)
    if weights.shape != (records,):
        raise InputError(f"field {WEIGHT!r} has the shape {list(weights.shape[1:])}, expected one number a record")
    return weights


def _add(tally: Tally, found: Predictions, records: NDArray[np.intp]) -> None:
    """Add some of a batch's records to `tally`. A user's model gives one row a batch, which counts as it is."""
    if found.scores is None or found.labels is None:
        tally.add_losses(found.losses, found.weights)
        return
    tally.add_losses(found.losses[records], found.weights[records])
    tally.add(found.labels[records].reshape(-1), found.scores[records].reshape(-1, found.scores.shape[-1]))
