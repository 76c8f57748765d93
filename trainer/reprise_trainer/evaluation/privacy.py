"""How well a model's losses tell training records from others: what a membership inference attack has to go on.

The attack of Yeom et al. ("Privacy risk in machine learning: analyzing the connection to overfitting", 2018) says
"member" when a record's loss is below a threshold. Its best advantage over all thresholds is the largest difference of
the two splits' cumulative distributions (the Kolmogorov-Smirnov statistic); 0 tells nothing, 1 everything. The area
under the attack's ROC curve counts pairs (Mann and Whitney, 1947), ties half. Both are ratios of integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np


@dataclass(frozen=True, slots=True)
class MembershipRisk:
    """What a loss threshold gives away. `advantage` in [0, 1]; `auc` in [0, 1], 0.5 tells nothing."""

    members: int
    others: int
    advantage: float
    auc: float

    def facts(self) -> dict[str, str | int]:
        """The values for a record."""
        return {
            "members": self.members,
            "others": self.others,
            "membership_advantage": self.advantage.hex(),
            "membership_auc": self.auc.hex(),
        }


def membership_risk(members: Sequence[float], others: Sequence[float]) -> MembershipRisk:
    """Compare the losses of records that the model was trained on with those of records it never saw.

    Args:
        members: losses of training records, at least one.
        others: losses of records of another split, at least one.
    """
    ours, theirs = np.sort(np.asarray(members)), np.sort(np.asarray(others))
    values = np.unique(np.concatenate([ours, theirs]))
    below, caught = np.searchsorted(theirs, values, "right"), np.searchsorted(ours, values, "right")
    difference = caught.astype(object) * len(theirs) - below.astype(object) * len(ours)
    pairs = len(ours) * len(theirs)
    first, last = (np.searchsorted(theirs, ours, side) for side in ("left", "right"))
    higher, equal = int((len(theirs) - last).sum()), int((last - first).sum())
    return MembershipRisk(
        len(ours),
        len(theirs),
        advantage=float(Fraction(max(0, *(int(each) for each in difference)), pairs)),
        auc=float(Fraction(2 * higher + equal, 2 * pairs)),
    )
