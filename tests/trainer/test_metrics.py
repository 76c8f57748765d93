"""Metrics, fairness and privacy against scikit-learn and fairlearn, whose names they carry."""

from __future__ import annotations

from typing import Any, get_args

import fairlearn.metrics
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from reprise_trainer.config.evaluate import MetricName
from reprise_trainer.evaluation.fairness import judge_fairness
from reprise_trainer.evaluation.metrics import METRICS
from reprise_trainer.evaluation.privacy import membership_risk
from reprise_trainer.evaluation.tally import Tally

CLASSES = 6
PAIRS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=2, max_size=60)


def tally_of(pairs: list[tuple[int, int]], classes: int = CLASSES) -> Tally:
    """The counts of (truth, answer) pairs."""
    truth, answers = (np.array(each) for each in zip(*pairs, strict=True))
    scores = np.zeros((len(pairs), classes), np.float32)
    scores[np.arange(len(pairs)), answers] = 1
    tally = Tally(classes)
    tally.add(truth, scores)
    tally.add_losses(np.ones(len(pairs), np.float32), np.ones(len(pairs), np.float32))
    return tally


ORACLES: dict[str, Any] = {
    "accuracy": sklearn.metrics.accuracy_score,
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score,
    "precision_macro": lambda t, a: sklearn.metrics.precision_score(t, a, average="macro", zero_division=0),
    "recall_macro": lambda t, a: sklearn.metrics.recall_score(t, a, average="macro", zero_division=0),
    "f1_macro": lambda t, a: sklearn.metrics.f1_score(t, a, average="macro", zero_division=0),
    "f1_weighted": lambda t, a: sklearn.metrics.f1_score(t, a, average="weighted", zero_division=0),
    "cohen_kappa": sklearn.metrics.cohen_kappa_score,
    "matthews_corrcoef": sklearn.metrics.matthews_corrcoef,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ORACLES)
@given(pairs=PAIRS)
def test_a_metric_is_scikit_learns(name: str, pairs: list[tuple[int, int]]) -> None:
    truth, answers = zip(*pairs, strict=True)
    expected = ORACLES[name](truth, answers)
    if not np.isnan(expected):  # one class alone: scikit-learn's kappa is undefined, ours counts 0
        assert METRICS[name](tally_of(pairs)) == pytest.approx(expected, abs=1e-12)


def test_the_configuration_offers_every_metric() -> None:
    assert set(get_args(MetricName)) == set(METRICS)


def test_every_metric_has_an_oracle_or_a_test_of_its_own() -> None:
    assert set(METRICS) == {*ORACLES, "top_5_accuracy", "log_loss"}


@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(2, 40))
def test_the_five_best_scores_count(seed: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, (40, 12)).astype(np.float32)  # few levels: many ties
    labels = random.integers(0, 12, 40)
    tally = Tally(12)
    tally.add(labels, scores)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]  # ties: the earlier class first
    assert METRICS["top_5_accuracy"](tally) == sum(label in row for label, row in zip(labels, best, strict=True)) / 40


@given(pairs=PAIRS, cut=st.integers(1, 59))
def test_counts_do_not_depend_on_how_records_come(pairs: list[tuple[int, int]], cut: int) -> None:
    whole, parts = tally_of(pairs), Tally(CLASSES)
    for part in (pairs[cut:], pairs[:cut]):
        if part:
            found = tally_of(part)
            parts.confusion += found.confusion
            parts.ranks += found.ranks
            parts.losses += found.losses
            parts.weights += found.weights
    assert [METRICS[name](whole).hex() for name in METRICS] == [METRICS[name](parts).hex() for name in METRICS]


@given(
    rows=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from("abc")), min_size=1, max_size=40).map(
        lambda rows: [*rows, *((truth, 0, group) for truth in (0, 1) for group in "abc")]
    )
)
def test_differences_between_groups_are_fairlearns(rows: list[tuple[int, int, str]]) -> None:
    truth, answers, column = (list(each) for each in zip(*rows, strict=True))
    groups = {name: tally_of([(t, a) for t, a, g in rows if g == name], 2) for name in "abc"}
    found = judge_fairness("column", groups)
    for name in ("demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference"):
        oracle = getattr(fairlearn.metrics, name)
        assert getattr(found, name) == pytest.approx(oracle(truth, answers, sensitive_features=column), abs=1e-12)


def test_a_group_that_lacks_a_class_is_left_out_of_its_rate() -> None:
    found = judge_fairness("column", {"a": tally_of([(1, 1), (0, 0)], 2), "b": tally_of([(0, 0)], 2)})
    assert found.equal_opportunity_difference == 0 and found.demographic_parity_difference == 0.5


LOSSES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), min_size=1, max_size=30)


@given(members=LOSSES, others=LOSSES)
def test_membership_risk_is_that_of_the_best_threshold(members: list[float], others: list[float]) -> None:
    found = membership_risk(members, others)
    is_member = [1] * len(members) + [0] * len(others)
    scores = [-loss for loss in members + others]
    assert found.auc == pytest.approx(sklearn.metrics.roc_auc_score(is_member, scores), abs=1e-12)
    false, true, _ = sklearn.metrics.roc_curve(is_member, scores)
    assert found.advantage == pytest.approx(max(true - false), abs=1e-12)
