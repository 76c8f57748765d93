"""How far a classifier treats groups of records alike, by fairlearn's names and definitions, from integer counts.

A group is a value of the snapshot's group column. For a class c, a group's selection rate is the share of its records
taken for c, its true positive rate the share of its records of c taken for c, its false positive rate the share of its
other records taken for c (Hardt, Price and Srebro, "Equality of opportunity in supervised learning", 2016; fairlearn's
user guide, "Common fairness metrics"). With more than two classes each class is judged against all others, and the
largest difference counts; with two, class 1 alone is judged, as fairlearn does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from reprise_trainer.evaluation.tally import Tally

Rate = Callable[[Tally, int], Fraction | None]


@dataclass(frozen=True, slots=True)
class Fairness:
    """Group → its records and right answers, and the largest differences between groups, each in [0, 1]."""

    column: str
    groups: Mapping[str, Mapping[str, int]]
    demographic_parity_difference: float
    equal_opportunity_difference: float
    equalized_odds_difference: float

    def facts(self) -> dict[str, object]:
        """The values for a record: counts as integers, differences as hex floats."""
        return {
            "column": self.column,
            "groups": {name: dict(counts) for name, counts in self.groups.items()},
            "demographic_parity_difference": self.demographic_parity_difference.hex(),
            "equal_opportunity_difference": self.equal_opportunity_difference.hex(),
            "equalized_odds_difference": self.equalized_odds_difference.hex(),
        }


def judge_fairness(column: str, groups: Mapping[str, Tally]) -> Fairness:
    """Compare groups.

    Args:
        column: the group column's name.
        groups: group → the counts of its records, at least one group.
    """
    found = _difference(groups, true_positive_rate)
    return Fairness(
        column,
        {name: {"total": tally.total, "correct": tally.correct} for name, tally in sorted(groups.items())},
        demographic_parity_difference=float(_difference(groups, selection_rate)),
        equal_opportunity_difference=float(found),
        equalized_odds_difference=float(max(found, _difference(groups, false_positive_rate))),
    )


def selection_rate(tally: Tally, positive: int) -> Fraction | None:
    """Share of records taken for class `positive`; None where there are none."""
    return _share(int(tally.confusion[:, positive].sum()), tally.total)


def true_positive_rate(tally: Tally, positive: int) -> Fraction | None:
    """Share of records of class `positive` taken for it; None where there are none."""
    return _share(int(tally.confusion[positive, positive]), int(tally.confusion[positive].sum()))


def false_positive_rate(tally: Tally, positive: int) -> Fraction | None:
    """Share of records of other classes taken for class `positive`; None where there are none."""
    others = tally.total - int(tally.confusion[positive].sum())
    return _share(int(tally.confusion[:, positive].sum() - tally.confusion[positive, positive]), others)


def _share(part: int, whole: int) -> Fraction | None:
    return Fraction(part, whole) if whole else None


def _difference(groups: Mapping[str, Tally], rate: Rate) -> Fraction:
    """The largest difference between two groups' rates, over the classes; groups without a rate are left out."""
    classes = next(iter(groups.values())).classes
    judged = (1,) if classes == 2 else range(classes)
    widest = Fraction(0)
    for positive in judged:
        rates = [found for tally in groups.values() if (found := rate(tally, positive)) is not None]
        if rates:
            widest = max(widest, max(rates) - min(rates))
    return widest
