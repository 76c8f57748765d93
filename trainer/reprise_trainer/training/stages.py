"""The stages that a configuration replaces or adds to: the user's functions, found before anything is computed.

A function's code is part of the run's own code or of the image, so its identity is in the record either way. What it
gives has to follow from what it gets: a preprocess that gives other bytes for the same batch is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import Predictions
from reprise_trainer.config.stages import StageSection, StagesSection
from reprise_trainer.data.batches import Batch, BatchSource, Fields
from reprise_trainer.entry_point import load_entry_point, require_options
from reprise_trainer.errors import InputError
from reprise_trainer.training.loop import Trained, train

_ARGUMENTS: Mapping[str, tuple[None, ...]] = {"preprocess": (None,), "evaluate": (None,), "report": (None, None)}
"""Stage → stand-ins for what its function is called with; the training loop's are its own affair."""

Predicted = tuple[Fields, Predictions]
"""A batch of an evaluated split, and what the model says of it."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of a run. `preprocess` maps fields to fields; `train` has the loop's signature; `evaluate` gives
    further metrics, or is None; `report` writes files into a folder, or is None."""

    preprocess: Callable[[Fields], Fields] | None = None
    train: Callable[..., Trained] = train
    evaluate: Callable[[Iterator[Predicted]], Mapping[str, int | str]] | None = None
    report: Callable[[Mapping[str, Any], Path], None] | None = None


def load_stages(section: StagesSection | None) -> Stages:
    """The stages that a configuration asks for.

    Raises:
        InputError: a function is not there.
    """
    if section is None:
        return Stages()
    preprocess, own_train = _load(section.preprocess, "preprocess"), _load(section.train, "train")
    evaluate = _load(section.evaluate, "evaluate")
    return Stages(
        preprocess=None if preprocess is None else partial(_preprocessed, preprocess),
        train=own_train or train,
        evaluate=None if evaluate is None else lambda rows: named_metrics(evaluate(rows)),
        report=_load(section.report, "report"),
    )


@dataclass(frozen=True, slots=True)
class PreprocessedBatches:
    """Batches whose fields go through a function. Order, record numbers and digests are those of `batches`."""

    batches: BatchSource
    preprocess: Callable[[Fields], Fields]

    def batch(self, step: int) -> Batch:
        """See `BatchSource.batch`."""
        batch = self.batches.batch(step)
        return replace(batch, fields=self.preprocess(batch.fields))


def require_pure(preprocess: Callable[[Fields], Fields], fields: Fields) -> None:
    """Call a preprocess twice on copies of one batch.

    Raises:
        InputError: it gave other bytes the second time, or changed what it was given.
    """
    given = [{name: array.copy() for name, array in fields.items()} for _ in range(2)]
    first, second = (preprocess(copies) for copies in given)
    for name, array in fields.items():
        if given[0][name].tobytes() != array.tobytes():
            raise InputError(
                f"stages.preprocess: it changed field {name!r} of the batch that it was given",
                hint="Groups and your own evaluation see the fields as they are stored: give a new array instead.",
            )
    for name in {*first, *second}:
        if name not in first or name not in second or first[name].tobytes() != second[name].tobytes():
            raise InputError(
                f"stages.preprocess: field {name!r} is another at the second call with the same batch",
                hint="It must follow from the batch alone: no clock, no generator of its own, no state.",
            )


def named_metrics(found: object) -> dict[str, int | str]:
    """What an evaluate function gave, for a record: integers as they are, floats as hex floats.

    Raises:
        InputError: not a mapping of names to finite numbers.
    """
    if not isinstance(found, Mapping):
        raise InputError(f"stages.evaluate: gave {type(found).__name__}, expected a mapping of names to numbers")
    values: dict[str, int | str] = {}
    for name, value in found.items():
        match value:
            case int() | np.integer():
                values[f"own/{name}"] = int(value)
            case float() | np.floating() if np.isfinite(value):
                values[f"own/{name}"] = float(value).hex()
            case _:
                raise InputError(f"stages.evaluate: {name!r} is {value!r}, expected a finite number")
    return values


def _load(section: StageSection | None, name: str) -> Callable[..., Any] | None:
    if section is None:
        return None
    function = load_entry_point(section.function, where=f"stages.{name}.function")
    if name in _ARGUMENTS:
        require_options(function, *_ARGUMENTS[name], options=section.options, where=f"stages.{name}.options")
    return partial(function, **section.options) if section.options else function


def _preprocessed(function: Callable[..., Any], fields: Fields) -> Fields:
    found = function(dict(fields))
    records = len(next(iter(fields.values())))
    if not isinstance(found, Mapping) or not found:
        raise InputError("stages.preprocess: expected a mapping of field names to arrays, with one array at least")
    arrays: dict[str, NDArray[np.generic]] = {str(name): np.ascontiguousarray(array) for name, array in found.items()}
    for name, array in arrays.items():
        if array.dtype.hasobject or array.ndim == 0 or len(array) != records:
            raise InputError(
                f"stages.preprocess: field {name!r} is {array.dtype} of shape {list(array.shape)}, "
                f"expected numbers for {records} records"
            )
    return arrays
