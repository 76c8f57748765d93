"""The training loop: batch, shards, one tree, one update, one ledger line; again."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from reprise_trainer.backends.interface import Backend, ShardKey, ShardSums, State
from reprise_trainer.data.batches import Batch, Batches
from reprise_trainer.data.prefetch import prefetched
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.training.checkpoint import CHECKPOINTS, write_checkpoint
from reprise_trainer.training.ledger import gradient_digest
from reprise_trainer.training.plan import Plan
from reprise_trainer.training.resume import Beginning, forget_interrupted, write_interrupted
from reprise_trainer.training.stop import Stop, stopped
from reprise_trainer.training.tree import tree_sum

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: its mean loss, its batch's and its gradient's digests (bare hex), and the state after it."""

    number: int
    loss: float
    batch: str
    gradient: str
    state: State


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
    plan: Plan, backend: Backend, batches: Batches, state: State, first: int, *, workers: int = 1, loaders: int = 0
) -> Iterator[Step]:
    """Train from `state`, which is the state after `first` steps, to the end of the plan.

    A step depends on nothing but the state before it and its number: so a run can go on from any checkpoint, and a
    segment between two checkpoints can be replayed alone. `workers` threads compute shards, `loaders` make
    batches ahead; how many never matters.

    Raises:
        InputError: the loss is not a finite number any more.
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

            loss = backend.loss(sums).mean
            if not math.isfinite(loss):
                raise InputError(f"step {number}: the loss is {loss}", hint="A smaller learning rate (lr) often helps.")
            yield Step(number, loss, batch.digest, gradient_digest(backend.gradient_sums(sums)), state)


def _shard_sums(plan: Plan, backend: Backend, state: State, batch: Batch, index: int) -> ShardSums:
    key = ShardKey(plan.seed, batch.step, index)
    return backend.shard_sums(state, batch.shard(index, plan.shards), key)


def available_workers(shards: int, threads: int) -> int:
    """How many workers this machine can keep busy: one a core of this process, over the threads inside an operation."""
    return max(1, min(shards, len(os.sched_getaffinity(0)) // threads))


def train(
    plan: Plan,
    backend: Backend,
    batches: Batches,
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
    first, ledger = beginning.checkpoint, beginning.ledger
    state = backend.load(first.tensors) if first else first_state(plan, backend)
    digest = first.digest if first else ""
    checkpoints = list(beginning.checkpoints)
    for step in steps(plan, backend, batches, state, beginning.step, workers=workers, loaders=loaders):
        ledger.add_step(step.number, loss=step.loss, batch=step.batch, gradient=step.gradient)
        _require_seen(beginning, step.number, ledger.head)
        state, done = step.state, step.number + 1
        records = done * plan.batch_size
        emit({"event": "step", "step": done, "steps": plan.steps, "loss": step.loss, "records": records})

        if done % plan.checkpoint_every == 0 or done == plan.steps:
            ledger.sync()  # so that no checkpoint stands whose steps are not in the ledger
            digest = write_checkpoint(output / CHECKPOINTS, done, backend.export(state))
            ledger.add_checkpoint(done, digest)
            ledger.sync()
            checkpoints.append((done, digest))
            forget_interrupted(output)
            emit({"event": "checkpoint", "step": done, "state": digest})
        elif stop and stop.requested:
            ledger.sync()
            write_interrupted(output, done, backend.export(state))
        if stop and stop.requested and done < plan.steps:
            raise stopped(stop, done)
    return Trained(state, digest, tuple(checkpoints))


def _require_seen(beginning: Beginning, step: int, head: str) -> None:
    seen = beginning.seen.get(step)
    if seen not in (None, head.removeprefix("sha256:")):
        raise DoesNotHoldError(
            f"step {step} gives other bits here than before the run was interrupted",
            hint="Is this another CPU than before, or one that the profile does not hold on? See docs/recovery.md.",
        )
