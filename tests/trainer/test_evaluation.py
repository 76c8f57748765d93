"""Evaluation: integer counts and an exact sum, whatever the batch size pads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tests.trainer.conftest import CONFIG, RECORDS, RunOnce, environment

from reprise_trainer.backends.interface import WEIGHT, Predictions, Recipe, Sgd, ShardKey
from reprise_trainer.backends.jax_backend import JaxBackend
from reprise_trainer.backends.models import Mlp
from reprise_trainer.backends.torch_backend import TorchBackend
from reprise_trainer.data.batches import Fields, open_columns
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.evaluation.evaluate import Evaluation, Group, evaluate


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
        weights = fields[WEIGHT] if WEIGHT in fields else np.ones_like(losses)
        return Predictions(losses * weights, weights, scores, labels)


@pytest.mark.parametrize("batch_size", [1, 7, 70, 71, 500])
def test_padding_counts_nothing(snapshot: OpenSnapshot, batch_size: int) -> None:
    oracle, columns = Oracle([]), open_columns(snapshot, "test")
    found = evaluate(oracle, None, columns, records=RECORDS["test"], batch_size=batch_size, classes=10)  # type: ignore[arg-type]
    everything = np.arange(RECORDS["test"])
    fields = {name: column.take(everything) for name, column in columns.items()}
    losses = oracle.predict(None, fields).losses
    assert set(oracle.seen[:-1]) == {batch_size}
    assert found.tally.correct == int((fields["label"] < 7).sum())
    assert found.tally.total == RECORDS["test"]
    assert found.tally.loss == float(sum(Fraction(float(loss)) for loss in losses)) / found.tally.total
    assert math.isclose(float(found.metrics()["accuracy"]), found.accuracy, abs_tol=5e-5)


def test_asked_for_metrics_are_hex_floats_beside_the_counts(snapshot: OpenSnapshot) -> None:
    columns = open_columns(snapshot, "test")
    found = evaluate(
        Oracle([]),  # type: ignore[arg-type]
        None,
        columns,
        records=RECORDS["test"],
        batch_size=32,
        classes=10,
        metrics=("accuracy", "f1_macro"),
    )
    values = found.metrics()
    assert list(values) == ["accuracy", "correct", "total", "loss", "f1_macro"]
    assert 0 < float.fromhex(str(values["f1_macro"])) < 1 and found.fairness is None


def test_groups_are_counted_apart(snapshot: OpenSnapshot) -> None:
    columns = open_columns(snapshot, "test")
    group = Group("label", tuple(f"class {number}" for number in range(10)))
    found = evaluate(
        Oracle([]),  # type: ignore[arg-type]
        None,
        columns,
        records=RECORDS["test"],
        batch_size=32,
        classes=10,
        group=group,
    )
    assert found.fairness is not None
    facts = found.fairness.groups
    assert sum(counts["total"] for counts in facts.values()) == RECORDS["test"]
    assert facts["class 3"]["correct"] == facts["class 3"]["total"] and facts["class 8"]["correct"] == 0
    assert found.fairness.demographic_parity_difference == 1


# What an evaluation can't do is said before step 0: a trained run can't be finished with another configuration.


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ('split = "other"', "snapshot 'fashion-mnist' has no split 'other'; it has test, train"),
        ('group = "age"', "snapshot 'fashion-mnist' has no field 'age'; it has image, label"),
        ('group = "image"', "evaluate.group: 'image' holds uint8 of shape [28, 28], a group is an integer"),
    ],
)
def test_what_the_snapshot_lacks_is_refused_before_training(run_once: RunOnce, asked: str, said: str) -> None:
    ran = run_once(CONFIG + f"{asked}\n")
    assert ran.code == InputError.exit_code and said in ran.error
    assert not list(ran.output.iterdir())


def test_weights_that_no_evaluation_takes_are_refused_before_training(run_once: RunOnce, tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/weighing.py").write_text("""
def columns(fields):
    return {**fields, "weight": (fields["label"][:, None] < 9).astype("float32")}
""")
    config = CONFIG + '\n[stages.preprocess]\nfunction = "weighing:columns"\n'
    ran = run_once(config, changes={"PYTHONPATH": f"{tmp_path / 'modules'}:{environment()['PYTHONPATH']}"})
    assert ran.code == InputError.exit_code and "field 'weight' has the shape [1], expected one number" in ran.error
    assert not list(ran.output.iterdir())


def weighed(snapshot: OpenSnapshot, weights: Sequence[object], group: Group | None = None) -> Evaluation:
    """The oracle's evaluation where each record of class c weighs `weights[c]`."""

    def preprocess(fields: Fields) -> Fields:
        return {**fields, WEIGHT: np.array(weights, np.float32)[fields["label"]]}

    return evaluate(
        Oracle([]),  # type: ignore[arg-type]
        None,
        open_columns(snapshot, "test"),
        records=RECORDS["test"],
        batch_size=32,
        classes=10,
        group=group,
        preprocess=preprocess,
    )


@pytest.mark.parametrize("kind", [TorchBackend, JaxBackend])
@pytest.mark.parametrize("batch_size", [32, 70])
def test_what_is_masked_in_training_is_masked_in_evaluation(
    kind: type[TorchBackend | JaxBackend], batch_size: int, snapshot: OpenSnapshot
) -> None:
    backend = kind(Mlp((28, 28), 10, (8,), 0.0), Recipe(Sgd(0.0, 0.0)))
    state, columns = backend.initial(1), open_columns(snapshot, "test")

    def preprocess(fields: Fields) -> Fields:
        return {**fields, WEIGHT: (fields["label"] < 4).astype(np.float32)}

    fields = preprocess({name: column.take(np.arange(RECORDS["test"])) for name, column in columns.items()})
    trained = backend.loss(backend.shard_sums(state, fields, ShardKey(1, 0, 0)))
    found = evaluate(
        backend,
        state,
        columns,
        records=RECORDS["test"],
        batch_size=batch_size,
        classes=10,
        preprocess=preprocess,
    )
    assert 0 < trained.weight == found.tally.total < RECORDS["test"]
    assert math.isclose(found.tally.loss, trained.mean, rel_tol=1e-6)
    assert found.tally.confusion.sum(axis=1)[4:].tolist() == [0] * 6


def test_a_record_of_weight_0_is_in_no_group_and_no_list_of_losses(snapshot: OpenSnapshot) -> None:
    found = weighed(snapshot, [1] * 9 + [0], Group("label"))
    assert found.fairness is not None and set(found.fairness.groups) == {str(label) for label in range(9)}
    assert len(found.tally.losses) == found.tally.total < RECORDS["test"]


def test_another_weight_counts_in_the_loss_alone(snapshot: OpenSnapshot) -> None:
    plain, found = weighed(snapshot, [1] * 10), weighed(snapshot, [0.5] * 5 + [2] * 5)
    assert (found.tally.correct, found.tally.total) == (plain.tally.correct, plain.tally.total)
    low = int(plain.tally.confusion.sum(axis=1)[:5].sum())
    assert sum(found.tally.weights) == 0.5 * low + 2 * (RECORDS["test"] - low) and found.tally.loss != plain.tally.loss


def test_a_split_on_which_nothing_counts_is_refused(snapshot: OpenSnapshot) -> None:
    with pytest.raises(InputError, match="each of its records has a weight of 0"):
        weighed(snapshot, [0] * 10)


def test_a_weight_that_is_no_number_a_record_is_refused(snapshot: OpenSnapshot) -> None:
    with pytest.raises(InputError, match=r"field 'weight' has the shape \[1\], expected one number a record"):
        weighed(snapshot, np.ones((10, 1)).tolist())
