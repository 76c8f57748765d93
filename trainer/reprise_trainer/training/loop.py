"""The training loop: batch, shards, one tree, one update, one ledger line; again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reprise_trainer.backends.interface import Backend, ShardKey, ShardSums, State
from reprise_trainer.data.batches import Batch, BatchSource
from reprise_trainer.data.prefetch import prefetched
from reprise_trainer.training.journal import Emit, Journal
from reprise_trainer.training.plan import Plan
from reprise_trainer.training.reading import Reading
from reprise_trainer.training.resume import Beginning, write_interrupted
from reprise_trainer.training.stop import Stop, stopped
from reprise_trainer.training.tree import tree_sum


@dataclass(frozen=True, slots=True)
class Step:
    """A dispatched step: its number, the state after it, and what is still to be read."""

    number: int
    state: State
    reading: Reading


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training: the last state, its digest, and (finished steps, state digest) of each checkpoint."""

    state: State
    digest: str
    checkpoints: tuple[tuple[int, str], ...]


def first_state(plan: Plan, backend: Backend) -> State:
    """The state before step 0."""
    return backend.initial(plan.seed)


def steps(
    plan: Plan, backend: Backend, batches: BatchSource, state: State, first: int, *, workers: int = 1, loaders: int = 0
) -> Iterator[Step]:
    """Train from `state`, which is the state after `first` steps, to the end of the plan.

    A step depends on nothing but the state before it and its number: so a run can go on from any checkpoint, and a
    segment between two checkpoints can be replayed alone. `workers` threads compute shards, `loaders` make
    batches ahead; how many never matters. Nothing here waits for a device: whoever reads a step's loss does.
    """
    with ThreadPoolExecutor(workers) as pool:
        for batch in prefetched(batches.batch, range(first, plan.steps), loaders):
            number = batch.step

            # Each logical shard alone, at one fixed shape; whichever worker computes it, its sums are the same.
            compute = partial(_shard_sums, plan, backend, state, batch)
            shards = pool.map(compute, range(plan.shards))

            # One fixed order of addition; the division by the weight is in the update, once.
            sums = tree_sum(shards, backend.add)
            state = backend.apply(state, sums, plan.rate(number))

            yield Step(number, state, Reading(number, batch.digest, backend, sums))


def _shard_sums(plan: Plan, backend: Backend, state: State, batch: Batch, index: int) -> ShardSums:
    key = ShardKey(plan.seed, batch.step, index)
    return backend.shard_sums(state, batch.shard(index, plan.shards), key)


def available_workers(shards: int, threads: int) -> int:
    """How many workers this machine can keep busy: one a core of this process, over the threads inside an operation."""
    return max(1, min(shards, len(os.sched_getaffinity(0)) // threads))


def train(
    plan: Plan,
    backend: Backend,
    batches: BatchSource,
    beginning: Beginning,
    output: Path,
    emit: Emit,
    *,
    workers: int = 1,
    loaders: int = 0,
    stop: Stop | None = None,
) -> Trained:
    """Train by `plan` from where the run begins to its last step.

    Args:
        plan, backend, batches, workers, loaders: see `steps`.
        beginning: its ledger gets one line a step and one a regular checkpoint.
        output: checkpoints go to its folder `checkpoints`.
        emit: called with an event a step and one a checkpoint.
        stop: looked at after each step.

    Raises:
        InputError: the loss is not a finite number any more.
        DoesNotHoldError: a step that an earlier attempt has done already gives other bits here.
        StorageError: ledger or checkpoint can't be written.
        StoppedError: the run was asked to end, and left a checkpoint.
    """
    first = beginning.checkpoint
    if first is not None:
        state = backend.load(first.tensors)
    else:
        state = first_state(plan, backend) if beginning.initial is None else beginning.initial
    with Journal(plan, beginning, output, emit, aliases=backend.aliases()) as journal:
        for step in steps(plan, backend, batches, state, beginning.step, workers=workers, loaders=loaders):
            journal.add(step.reading)
            state, done = step.state, step.number + 1
            regular = done % plan.checkpoint_every == 0 or done == plan.steps
            if regular:
                journal.checkpoint(done, partial(backend.export, state))
            if stop and stop.requested and done < plan.steps:
                journal.drain()
                if not regular:
                    write_interrupted(output, done, backend.export(state))
                raise stopped(stop, done)
        journal.drain()
    return Trained(state, journal.checkpoints[-1][1], tuple(journal.checkpoints))
