"""Validation while a run trains, and early stopping: both functions of the steps alone, so that every worker, every
resumed attempt and every replay decides the same.

A validation's mean loss stands in the ledger, in the line of the step that it comes after.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise_trainer.backends.interface import Backend, State
from reprise_trainer.config.evaluate import EvaluateSection
from reprise_trainer.config.validation import ValidationSection
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.evaluation.judged import Preprocess, judge


@dataclass(frozen=True, slots=True)
class Validating:
    """How a run is validated: `measure` gives the mean loss of a state, after every `every` steps; `patience` is how
    many validations without a lower loss end the run (None: none do)."""

    every: int
    patience: int | None
    measure: Callable[[State], float]

    def exhausted(self, losses: Sequence[float]) -> bool:
        """Whether the run ends with these validations' losses, the oldest first. An equal loss is no lower one, and one
        that is no number is higher than all that are."""
        if self.patience is None or not losses:
            return False
        known = [math.inf if math.isnan(loss) else loss for loss in losses]
        return len(known) - 1 - known.index(min(known)) >= self.patience


class Validations:
    """The validations of one attempt: those that the ledger tells, and those that this attempt makes."""

    def __init__(self, validating: Validating | None, losses: Sequence[float] = ()) -> None:
        self._validating, self._losses = validating, list(losses)

    def after(self, done: int, state: State) -> float | None:
        """Validate the state after `done` steps, where a validation is due; its mean loss."""
        if self._validating is None or done % self._validating.every:
            return None
        self._losses.append(self._validating.measure(state))
        return self._losses[-1]

    def exhausted(self) -> bool:
        """Whether the run ends now."""
        return self._validating is not None and self._validating.exhausted(self._losses)


def make_validating(
    section: ValidationSection | None,
    source: OpenSnapshot,
    backend: Backend,
    *,
    trained_on: str,
    preprocess: Preprocess | None = None,
) -> Validating | None:
    """The validation that a configuration asks for; None where it asks for none.

    Raises:
        InputError: the snapshot has no such split.
    """
    if section is None:
        return None
    source.snapshot.split(section.split)
    asked = EvaluateSection(split=section.split, batch_size=section.batch_size, metrics=[])

    def measure(state: State) -> float:
        return judge(asked, source, backend, state, trained_on=trained_on, preprocess=preprocess).tally.loss

    return Validating(section.every, section.patience, measure)


def losses_until(ledger: Path, done: int) -> list[float]:
    """The losses of the validations in the first `done` steps of a ledger that another worker may be writing to."""
    found: list[Mapping[str, Any]] = []
    for line in ledger.read_bytes().split(b"\n"):
        with suppress(ValueError):  # the last line may be half-written
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("step", done) < done:
                found.append(entry)
    return validation_losses(found)


def validation_losses(lines: Iterable[Mapping[str, Any]]) -> list[float]:
    """The losses of the validations that a ledger's lines tell, the oldest first."""
    return [float.fromhex(line["validation"]) for line in lines if "validation" in line]
