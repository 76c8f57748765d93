"""What an audit says: a verdict and the parts that it rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["same bits", "different", "not comparable here"]
PartName = Literal["image", "data", "ledger", "state", "metrics"]
PARTS: tuple[PartName, ...] = ("image", "data", "ledger", "state", "metrics")


@dataclass(frozen=True, slots=True)
class Part:
    """One comparison. `expected` is the run record's digest and `found` that of this audit (empty when there is none);
    `equal` is None for what was not compared. `difference` names the first thing that differs, or says why nothing was
    compared."""

    expected: str
    found: str = ""
    equal: bool | None = None
    difference: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "expected": self.expected,
            "found": self.found,
            "equal": self.equal,
            "difference": self.difference,
        }


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """Whether the run record is signed as the policy asks, and which key vouches for it or why none does."""

    holds: bool
    why: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The result of an audit. `obstacle` says why this machine cannot give the run's bits, where that is so; `seconds`
    are those of each step."""

    record: RecordCheck
    parts: dict[PartName, Part]
    obstacle: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The answer: "same bits" only when the record holds and every part was compared and is equal.

        Where this machine cannot give the run's bits, a ledger or state that differs (or was not computed) says
        nothing, so that the verdict is "not comparable here"; an image or data that differs is a difference anywhere.
        """
        equal = {name: part.equal for name, part in self.parts.items()}
        if self.record.holds and all(equal[name] is True for name in PARTS):
            return "same bits"
        if self.record.holds and self.obstacle and equal["image"] is not False and equal["data"] is not False:
            return "not comparable here"  # never in place of "same bits": equal bits need no promise
        return "different"

    @property
    def first_difference(self) -> str:
        """The first difference, in the order in which one thing follows from another; empty for "same bits"."""
        if not self.record.holds:
            return f"record: {self.record.why}"
        if self.verdict == "not comparable here":
            return self.obstacle
        return next(
            (f"{name}: {self.parts[name].difference}" for name in PARTS if self.parts[name].equal is not True), ""
        )

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "verdict": self.verdict,
            "first_difference": self.first_difference,
            "record": {"holds": self.record.holds, "why": self.record.why},
            **{name: self.parts[name].as_json() for name in PARTS},
            "seconds": self.seconds,
        }
