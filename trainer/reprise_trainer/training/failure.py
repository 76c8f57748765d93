"""What is left of a run whose numbers stopped being numbers: enough to see why, and to repeat exactly that step.

    output/failure/
        failure.json         the step, its records, norms a parameter, the last good checkpoint
        step-00000012/       the state before the step, a checkpoint like any other
        config.toml          the run's configuration
        reproduce.sh         runs that one step again: `reproduce.sh SNAPSHOT`

Finding the step's state costs nothing while all is well: states are immutable, so the loop still has the one before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reprise_trainer.backends.interface import Tensors
from reprise_trainer.backends.state_tensors import tensor_aliases
from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError
from reprise_trainer.training.checkpoints.checkpoint import latest_good, write_checkpoint
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, checkpoint_name
from reprise_trainer.training.reading import NotFiniteError, Reading, not_finite

FOLDER, FILE_NAME, SCRIPT, CONFIG = "failure", "failure.json", "reproduce.sh", "config.toml"
FORMAT = 1

_SCRIPT = """#!/bin/sh
# Runs step {step} again from the state before it, and prints its loss and norms. Needs the run's snapshot and packages:
#     sh reproduce.sh SNAPSHOT
exec "${{PYTHON:-python3}}" -m reprise_trainer reproduce "$(dirname "$0")" "$1"
"""


@dataclass(frozen=True, slots=True)
class Failure:
    """A step whose loss or gradient, or a weight after it, is not finite. Numbers are hex floats, or `nan`, `inf`.

    `loss` is the step's, `gradients` and `weights` are norms by parameter (weights before the step), `records` the
    numbers of the batch's records, `checkpoint` the last good one (finished steps, state digest), if there is any.
    """

    step: int
    loss: str
    records: tuple[int, ...]
    gradients: Mapping[str, str]
    weights: Mapping[str, str]
    checkpoint: tuple[int, str] | None
    state: str

    def document(self) -> bytes:
        """The canonical bytes of `failure.json`."""
        return canonical_json({"format": FORMAT, **asdict(self)})


def describe_failure(reading: Reading, before: Tensors, checkpoint: tuple[int, str] | None, state: str) -> Failure:
    """The record of a failed step.

    Args:
        reading: the step, its sums not finite.
        before: the state's tensors before it.
        checkpoint: the last good one.
        state: the digest of `before`.
    """
    backend = reading.backend
    weights = {
        name.removeprefix("model/"): float(np.linalg.norm(value.astype(np.float64)))
        for name, value in before.items()
        if name.startswith("model/")
    }
    norms = backend.gradient_norms(reading.sums)
    return Failure(
        step=reading.number,
        loss=backend.loss(reading.sums).mean.hex(),
        records=() if reading.records is None else tuple(reading.records.tolist()),
        gradients={name: norm.hex() for name, norm in norms.items()},
        weights={name: norm.hex() for name, norm in weights.items()},
        checkpoint=checkpoint,
        state=state,
    )


def write_failure(output: Path, config: bytes, error: NotFiniteError) -> NotFiniteError:
    """Write `output/failure`, in place of an older one.

    Returns:
        The error to raise: `error`, with the place of its record.

    Raises:
        StorageError: it can't be written.
    """
    folder, reading = output / FOLDER, error.reading
    before, aliases = reading.backend.export(reading.before), tensor_aliases(reading.backend.aliases())
    last, _ = latest_good(output / CHECKPOINTS, wanted=lambda found: not_finite(found.tensors) is None)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        digest = write_checkpoint(folder, reading.number, before, aliases=aliases)
        failure = describe_failure(reading, before, (last.step, last.digest) if last else None, digest)
        write_durably(folder / CONFIG, config)
        write_durably(folder / SCRIPT, _SCRIPT.format(step=reading.number).encode())
        write_durably(folder / FILE_NAME, failure.document())
    except OSError as problem:
        raise storage_error(problem, folder) from problem
    return NotFiniteError(reading, error.what, see=f"; see {folder / FILE_NAME}, and {SCRIPT} beside it")


def read_failure(folder: Path) -> tuple[Failure, Path, bytes]:
    """A failure record, the folder of the state before its step, and the run's configuration.

    Raises:
        InputError: not a failure's folder.
    """
    try:
        document: dict[str, Any] = json.loads((folder / FILE_NAME).read_bytes())
        if document.pop("format") != FORMAT:
            raise InputError(f"{folder / FILE_NAME}: another format than {FORMAT}, which this version reads")
        checkpoint = document.pop("checkpoint")
        records = tuple(document.pop("records"))
        failure = Failure(**document, records=records, checkpoint=tuple(checkpoint) if checkpoint else None)
        return failure, folder / checkpoint_name(failure.step), (folder / CONFIG).read_bytes()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder}: no failure record to read: {error}") from error
