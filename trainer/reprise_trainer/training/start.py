"""Another run's checkpoint as the start of this one: which of its tensors are taken, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from reprise_trainer.backends.interface import Backend, State, Tensors
from reprise_trainer.config.start import StartSection
from reprise_trainer.errors import InputError, RefusedError
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint

_STEP = "step"
_NAMED_ALONE = ("model/", "buffer/")
"""Prefixes that a pattern without a slash goes without."""


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a run started from: state digest and finished steps of the checkpoint, digest of its run's record (empty
    where there is none), and the names of the tensors that were taken."""

    state: str
    step: int
    record: str
    tensors: tuple[str, ...]


def start_from(section: StartSection, folder: Path, backend: Backend, state: State) -> tuple[State, Parent]:
    """The state before step 0 with the chosen tensors of a checkpoint in it, and what to record.

    The step is never taken: the new run counts its own. Averaged weights (EMA) begin as the parameters that were taken.

    Args:
        section: which checkpoint, and which of its tensors.
        folder: the checkpoint, as the launcher brought it.
        backend, state: of this run; `state` is the one that it would start from without a checkpoint.

    Raises:
        RefusedError: the checkpoint has another state digest than the configuration says.
        InputError, DoesNotHoldError: it is damaged, or what was chosen does not fit this run's model.
    """
    found = read_checkpoint(folder)
    if found.digest != section.state:
        raise RefusedError(f"start: the checkpoint holds state {found.digest}, the configuration says {section.state}")
    tensors, taken = merge(backend.export(state), found.tensors, section.include, section.exclude)
    return backend.load(tensors), Parent(found.digest, found.step, section.record, taken)


def merge(
    own: Tensors, other: Tensors, include: Sequence[str], exclude: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """A new run's tensors with the chosen ones of another's in their place, and the names of those.

    A pattern with a slash is matched with a tensor's whole name (`optimizer/*`), one without it with the names of
    parameters and buffers (`conv*` takes `model/conv1.weight`).

    Raises:
        InputError: a pattern chooses nothing, or a chosen tensor is unknown here, or of another shape or element type.
    """
    for pattern in include:
        if not any(_matches(name, pattern) for name in other):
            raise InputError(f"start.include: {pattern!r} chooses nothing of {', '.join(sorted(other))[:300]}")
    chosen = tuple(
        name
        for name in sorted(other)
        if any(_matches(name, pattern) for pattern in include)
        and not any(_matches(name, pattern) for pattern in exclude)
    )
    for name in chosen:
        if name not in own:
            raise InputError(f"start: this run's model has no tensor {name!r}", hint="Name it in start.exclude.")
        ours, theirs = (f"{each.dtype} {each.shape}" for each in (own[name], other[name]))
        if ours != theirs:
            raise InputError(f"start: tensor {name!r} is {theirs}, this run's is {ours}", hint="Exclude it.")
    tensors = dict(own) | {name: other[name] for name in chosen}
    for name in chosen:
        average = name.replace("model/", "ema/", 1)
        if name.startswith("model/") and average in own and average not in chosen:
            tensors[average] = other[name]
    return tensors, chosen


def _matches(name: str, pattern: str) -> bool:
    if name == _STEP:
        return False
    if "/" in pattern:
        return fnmatchcase(name, pattern)
    return any(name.startswith(prefix) and fnmatchcase(name.removeprefix(prefix), pattern) for prefix in _NAMED_ALONE)
