"""One step of a run again, alone, from the state before it."""

from __future__ import annotations

from pathlib import Path

from reprise_trainer.config.read import read_config
from reprise_trainer.data.batches import BatchSource
from reprise_trainer.data.snapshot import open_snapshot
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint
from reprise_trainer.training.failure import Failure, describe_failure, read_failure
from reprise_trainer.training.loop import steps
from reprise_trainer.training.plan import make_backend, make_plan, open_batches
from reprise_trainer.training.stages import PreprocessedBatches, load_stages


def reproduce(folder: Path, data: Path) -> tuple[Failure, Failure]:
    """The failure recorded in `folder`, and the same step computed again: equal where the bits are.

    Args:
        folder: `failure` of a run's output.
        data: the run's snapshot.

    Raises:
        InputError: not a failure's folder, or the configuration doesn't hold.
        RefusedError: the snapshot is another or damaged.
        DoesNotHoldError: the state before the step is not what it was.
    """
    recorded, state, text = read_failure(folder)
    config = read_config(text, where=str(folder))
    source, stages = open_snapshot(data), load_stages(config.stages)
    plan = make_plan(config, source)
    backend = make_backend(config.train.backend, plan)
    backend.prepare(PROFILES[config.run.profile].backends[backend.name], config.run.threads)
    batches: BatchSource = open_batches(config.data, source, plan)
    if stages.preprocess is not None:
        batches = PreprocessedBatches(batches, stages.preprocess)
    before = read_checkpoint(state)
    step = next(steps(plan, backend, batches, backend.load(before.tensors), before.step))
    return recorded, describe_failure(step.reading, before.tensors, recorded.checkpoint, before.digest)
