"""A trained state on a snapshot, as the configuration asks: metrics, fairness between groups, membership risk."""

from __future__ import annotations

from dataclasses import replace

from reprise_trainer.backends.interface import Backend, State
from reprise_trainer.config.evaluate import EvaluateSection
from reprise_trainer.data.batches import open_columns
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.evaluation.evaluate import Evaluation, Group, evaluate
from reprise_trainer.evaluation.privacy import membership_risk

CLASSES = ("label", "tokens")
"""The fields whose classes a model predicts: a record's class, a text's next token."""


def judge(
    section: EvaluateSection, source: OpenSnapshot, backend: Backend, state: State, *, trained_on: str
) -> Evaluation:
    """Evaluate `state` on the split that `section` names.

    Args:
        section: what is asked for.
        source: the snapshot, its bytes checked.
        trained_on: the split that the state was trained on; membership risk compares with its first records.

    Raises:
        InputError: the snapshot lacks the split or the group column, or that is no column of integers.
    """
    found = _evaluate(section, source, backend, state, section.split, group=_group(section, source))
    if not section.membership:
        return found
    members = _evaluate(section, source, backend, state, trained_on, at_most=len(found.tally.losses))
    return replace(found, membership=membership_risk(members.tally.losses, found.tally.losses))


def _evaluate(
    section: EvaluateSection,
    source: OpenSnapshot,
    backend: Backend,
    state: State,
    split: str,
    *,
    group: Group | None = None,
    at_most: int | None = None,
) -> Evaluation:
    records = source.snapshot.split(split).records
    return evaluate(
        backend,
        state,
        open_columns(source, split),
        records=min(records, at_most or records),
        batch_size=section.batch_size,
        classes=max((len(each.classes or ()) for each in source.snapshot.fields if each.name in CLASSES), default=0),
        metrics=tuple(section.metrics),
        group=group,
    )


def _group(section: EvaluateSection, source: OpenSnapshot) -> Group | None:
    if section.group is None:
        return None
    field = source.snapshot.field(section.group)
    if field.shape or field.dtype == "float32":
        raise InputError(
            f"evaluate.group: {section.group!r} holds {field.dtype} of shape {list(field.shape)}, a group is an integer"
        )
    return Group(field.name, field.classes or ())
