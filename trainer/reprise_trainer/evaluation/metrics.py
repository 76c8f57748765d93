"""A fixed vocabulary of classification metrics, by scikit-learn's names, from integer counts.

Each value is a ratio of integers that is rounded once (or a few IEEE operations on such), so it has the same bits on
every machine and is compared like them. Definitions: scikit-learn's user guide, "Metrics and scoring"; where it divides
by zero it counts 0, and so do we.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType

from reprise_trainer.evaluation.tally import Tally


def _ratio(part: int, whole: int) -> Fraction:
    return Fraction(part, whole) if whole else Fraction(0)


def _precisions(tally: Tally) -> list[Fraction]:
    taken = tally.confusion.sum(axis=0)
    return [_ratio(int(tally.confusion[each, each]), int(taken[each])) for each in _present(tally)]


def _recalls(tally: Tally) -> list[Fraction]:
    true = tally.confusion.sum(axis=1)
    return [_ratio(int(tally.confusion[each, each]), int(true[each])) for each in _present(tally)]


def _f1s(tally: Tally) -> list[Fraction]:
    both = tally.confusion.sum(axis=0) + tally.confusion.sum(axis=1)
    return [_ratio(2 * int(tally.confusion[each, each]), int(both[each])) for each in _present(tally)]


def _present(tally: Tally) -> list[int]:
    """Classes that occur, as truth or as answer: those that a mean over classes is over."""
    seen = tally.confusion.sum(axis=0) + tally.confusion.sum(axis=1)
    return [each for each in range(tally.classes) if seen[each]]


def _mean(values: list[Fraction]) -> float:
    return float(sum(values, Fraction(0)) / len(values)) if values else 0.0


def accuracy(tally: Tally) -> float:
    """Share of records taken for their own class."""
    return float(_ratio(tally.correct, tally.total))


def balanced_accuracy(tally: Tally) -> float:
    """Mean recall over the classes that occur as truth."""
    true = tally.confusion.sum(axis=1)
    recalls = [_ratio(int(tally.confusion[each, each]), int(true[each])) for each in range(tally.classes) if true[each]]
    return _mean(recalls)


def precision_macro(tally: Tally) -> float:
    """Mean over classes of the share of answers that are right."""
    return _mean(_precisions(tally))


def recall_macro(tally: Tally) -> float:
    """Mean over classes of the share of records that are found."""
    return _mean(_recalls(tally))


def f1_macro(tally: Tally) -> float:
    """Mean over classes of the harmonic mean of precision and recall."""
    return _mean(_f1s(tally))


def f1_weighted(tally: Tally) -> float:
    """As `f1_macro`, each class weighted by its true records."""
    true = tally.confusion.sum(axis=1)
    weighted = [score * int(true[each]) for score, each in zip(_f1s(tally), _present(tally), strict=True)]
    return float(sum(weighted, Fraction(0)) / tally.total) if tally.total else 0.0


def cohen_kappa(tally: Tally) -> float:
    """Agreement beyond chance (Cohen, "A coefficient of agreement for nominal scales", 1960)."""
    expected = sum(
        int(a) * int(b) for a, b in zip(tally.confusion.sum(axis=0), tally.confusion.sum(axis=1), strict=True)
    )
    total = tally.total
    return float(_ratio(tally.correct * total - expected, total * total - expected))


def matthews_corrcoef(tally: Tally) -> float:
    """Correlation of answers and truth (Gorodkin, "Comparing two K-category assignments", 2004)."""
    answers, truth = ([int(each) for each in tally.confusion.sum(axis=axis)] for axis in (0, 1))
    total = tally.total
    covariance = tally.correct * total - sum(a * b for a, b in zip(answers, truth, strict=True))
    spread = (total**2 - sum(a * a for a in answers)) * (total**2 - sum(b * b for b in truth))
    return covariance / math.sqrt(spread) if spread else 0.0


def top_5_accuracy(tally: Tally) -> float:
    """Share of records whose class is among the five of the highest scores."""
    return float(_ratio(int(tally.ranks[:5].sum()), tally.total))


def log_loss(tally: Tally) -> float:
    """Mean cross entropy, nats."""
    return tally.loss


METRICS: Mapping[str, Callable[[Tally], float]] = MappingProxyType(
    {
        each.__name__: each
        for each in (
            accuracy,
            balanced_accuracy,
            precision_macro,
            recall_macro,
            f1_macro,
            f1_weighted,
            cohen_kappa,
            matthews_corrcoef,
            top_5_accuracy,
            log_loss,
        )
    }
)
"""Name → metric. Larger is better for each but `log_loss`."""
