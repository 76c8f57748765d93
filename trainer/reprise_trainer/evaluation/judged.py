"""A trained state on a snapshot, as the configuration asks: metrics, fairness between groups, membership risk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from reprise_trainer.backends.interface import Backend, Predictions, State
from reprise_trainer.backends.models import Model, Own
from reprise_trainer.config.evaluate import EvaluateSection
from reprise_trainer.data.batches import Fields, open_columns
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.evaluation.evaluate import Evaluation, Group, evaluate, predictions
from reprise_trainer.evaluation.privacy import membership_risk

Preprocess = Callable[[Fields], Fields]
OwnMetrics = Callable[[Iterator[tuple[Fields, Predictions]]], Mapping[str, int | str]]

CLASSES = ("label", "tokens")
"""The fields whose classes a model predicts: a record's class, a text's next token."""


def require_judgeable(section: EvaluateSection, source: OpenSnapshot, model: Model) -> None:
    """Refuse what `judge` can't do with a trained `model`; asked before it is trained, since a run is what its
    configuration says, and can't be finished with another.

    Raises:
        InputError: the snapshot lacks the split or the group column, or that is no column of integers; or more is asked
            for than a model of the user's own gives.
    """
    source.snapshot.split(section.split)
    _group(section, source)
    if isinstance(model, Own) and (beyond := _beyond_losses(section)):
        raise InputError(
            f"evaluate.{beyond}: a model of your own gives one loss a batch, not what it says of each record",
            hint="Measure it in a function of your own, stages.evaluate; it gets each batch of evaluate.batch_size.",
        )


def judge(
    section: EvaluateSection,
    source: OpenSnapshot,
    backend: Backend,
    state: State,
    *,
    trained_on: str,
    preprocess: Preprocess | None = None,
    own: OwnMetrics | None = None,
) -> Evaluation:
    """Evaluate `state` on the split that `section` names.

    Args:
        section: what is asked for.
        source: the snapshot, its bytes checked.
        trained_on: the split that the state was trained on; membership risk compares with its first records.
        preprocess: maps each batch's fields to those that the model gets.
        own: a function of the user's, which gets each batch with the model's predictions and gives further values.

    Raises:
        InputError: the snapshot lacks the split or the group column, or that is no column of integers.
    """
    evaluated = partial(_evaluate, section, source, backend, state, preprocess)
    found = evaluated(section.split, group=_group(section, source))
    if own is not None:
        records = source.snapshot.split(section.split).records
        columns = open_columns(source, section.split, in_order=True)
        rows = predictions(backend, state, columns, records, section.batch_size, preprocess)
        found = replace(found, own=own(_trimmed(rows)))
    if not section.membership:
        return found
    members = evaluated(trained_on, at_most=len(found.tally.losses))
    return replace(found, membership=membership_risk(members.tally.losses, found.tally.losses))


def _evaluate(
    section: EvaluateSection,
    source: OpenSnapshot,
    backend: Backend,
    state: State,
    preprocess: Preprocess | None,
    split: str,
    *,
    group: Group | None = None,
    at_most: int | None = None,
) -> Evaluation:
    records = source.snapshot.split(split).records
    return evaluate(
        backend,
        state,
        open_columns(source, split, in_order=True),
        records=min(records, at_most or records),
        batch_size=section.batch_size,
        classes=max((len(each.classes or ()) for each in source.snapshot.fields if each.name in CLASSES), default=0),
        metrics=tuple(section.metrics),
        group=group,
        preprocess=preprocess,
    )


def _trimmed(rows: Iterator[tuple[Fields, int, Predictions]]) -> Iterator[tuple[Fields, Predictions]]:
    """Batches without the records that only pad them; a user's model gives one row a batch, which stays."""
    for fields, count, found in rows:
        kept = {name: column[:count] for name, column in fields.items()}
        if found.scores is None or found.labels is None:
            yield kept, found
        else:
            scores, labels = found.scores[:count], found.labels[:count]
            yield kept, Predictions(found.losses[:count], found.weights[:count], scores, labels)


def _beyond_losses(section: EvaluateSection) -> str | None:
    """The first key that asks for more than losses. The default of `metrics` asks for nothing."""
    if section.group is not None:
        return "group"
    if section.membership:
        return "membership"
    if "metrics" in section.model_fields_set and set(section.metrics) - {"log_loss"}:
        return "metrics"
    return None


def _group(section: EvaluateSection, source: OpenSnapshot) -> Group | None:
    if section.group is None:
        return None
    field = source.snapshot.field(section.group)
    if field.shape or field.dtype == "float32":
        raise InputError(
            f"evaluate.group: {section.group!r} holds {field.dtype} of shape {list(field.shape)}, a group is an integer"
        )
    return Group(field.name, field.classes or ())
