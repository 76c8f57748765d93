"""The training loop: batch, shards, one tree, one update, one ledger line; again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from reprise_trainer.backends.interface import Backend, ShardKey, ShardSums, State, Tensors
from reprise_trainer.backends.state_tensors import tensor_aliases
from reprise_trainer.data.batches import Batch, BatchSource
from reprise_trainer.data.prefetch import prefetched
from reprise_trainer.training.journal import Emit, Journal
from reprise_trainer.training.plan import Plan
from reprise_trainer.training.reading import Reading
from reprise_trainer.training.resume import Beginning, write_interrupted
from reprise_trainer.training.stop import Stop, stopped
from reprise_trainer.training.tree import tree_sum
from reprise_trainer.training.validation import Validating, Validations, validation_losses
from reprise_trainer.training.workers.exchange import ALONE, Exchange, combine, require_equal
from reprise_trainer.training.workers.following import Follower, head_bytes
from reprise_trainer.training.workers.group import own_shards


@dataclass(frozen=True, slots=True)
class Step:
    """A dispatched step: its number, the state after it, what is still to be read, and whether any worker was asked to
    end before it was over."""

    number: int
    state: State
    reading: Reading
    stop: bool = False


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
    plan: Plan,
    backend: Backend,
    batches: BatchSource,
    state: State,
    first: int,
    *,
    workers: int = 1,
    loaders: int = 0,
    exchange: Exchange = ALONE,
    stop: Stop | None = None,
) -> Iterator[Step]:
    """Train from `state`, which is the state after `first` steps, to the end of the plan.

    A step depends on nothing but the state before it and its number: so a run can go on from any checkpoint, and a
    segment between two checkpoints can be replayed alone. `workers` threads compute shards, `loaders` make
    batches ahead, and over `exchange` the shards are shared with other processes; how many never matters. Nothing here
    waits for a device: whoever reads a step's loss does. `stop` is looked at in each step.

    Raises:
        InputError: the other processes and this one can't share the shards evenly.
        UnavailableError: another process does not answer.
    """
    mine = own_shards(exchange.rank, exchange.size, plan.shards)
    with ThreadPoolExecutor(workers) as pool:
        for batch in prefetched(batches.batch, range(first, plan.steps), loaders):
            number = batch.step

            # Each logical shard alone, at one fixed shape; whichever worker computes it, its sums are the same.
            compute = partial(_shard_sums, plan, backend, state, batch)
            shards = pool.map(compute, mine)

            # One fixed order of addition, here and between processes; the division by the weight comes in the update.
            own, wanted = tree_sum(shards, backend.add), stop is not None and stop.requested
            sums, stopping = combine(exchange, backend, own, wanted)
            reading = Reading(number, batch.digest, backend, sums, batch.records, state)
            state = backend.apply(state, sums, plan.rate(number))

            yield Step(number, state, reading, stopping)


def _shard_sums(plan: Plan, backend: Backend, state: State, batch: Batch, index: int) -> ShardSums:
    key = ShardKey(plan.seed, batch.step, index)
    return backend.shard_sums(state, batch.shard(index, plan.shards), key)


def available_workers(shards: int, threads: int, processes: int = 1) -> int:
    """How many of `shards` each of `processes` on this machine can compute side by side: one a core, over the threads
    inside an operation."""
    return max(1, min(shards, len(os.sched_getaffinity(0)) // (threads * processes)))


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
    exchange: Exchange = ALONE,
    validating: Validating | None = None,
) -> Trained:
    """Train by `plan` from where the run begins to its last step.

    Args:
        plan, backend, batches, workers, loaders, stop, exchange: see `steps`.
        beginning: its ledger gets one line a step and one a regular checkpoint.
        output: checkpoints go to its folder `checkpoints`.
        emit: called with an event a step and one a checkpoint.
        validating: how the run is validated while it trains, and when that ends it.

    Raises:
        InputError: the loss is not a finite number any more, or a weight at the end is none.
        DoesNotHoldError: a step or checkpoint that an earlier attempt has done already has other bits here; or another
            worker has another ledger.
        StorageError: ledger or checkpoint can't be written.
        StoppedError: the run was asked to end, and left a checkpoint.
    """
    first = beginning.checkpoint
    if first is not None:
        state = backend.load(first.tensors)
    else:
        state = first_state(plan, backend) if beginning.initial is None else beginning.initial
    course = steps(
        plan, backend, batches, state, beginning.step, workers=workers, loaders=loaders, exchange=exchange, stop=stop
    )
    with Journal(plan, beginning, output, emit, aliases=backend.aliases()) as journal:
        interrupted = partial(write_interrupted, output, aliases=tensor_aliases(backend.aliases()))
        validations = Validations(validating, validation_losses(beginning.lines))
        state = _taken(course, plan, backend, state, journal, interrupted, exchange, stop, validations)
    return Trained(state, journal.checkpoints[-1][1], tuple(journal.checkpoints))


def train_along(
    plan: Plan,
    backend: Backend,
    batches: BatchSource,
    state: State,
    first: int,
    follower: Follower,
    *,
    workers: int,
    loaders: int,
    stop: Stop | None,
    exchange: Exchange,
    validations: Validations,
) -> None:
    """As a worker that is not the first, train from `state` after `first` steps to the plan's end; write nothing.

    Other arguments, and what it raises: as for `train`.
    """
    course = steps(plan, backend, batches, state, first, workers=workers, loaders=loaders, exchange=exchange, stop=stop)
    _taken(course, plan, backend, state, follower, lambda done, tensors: None, exchange, stop, validations)


def _taken(
    course: Iterator[Step],
    plan: Plan,
    backend: Backend,
    state: State,
    journal: Journal | Follower,
    interrupted: Callable[[int, Tensors], None],
    exchange: Exchange,
    stop: Stop | None,
    validations: Validations,
) -> State:
    """Let the journal take each step and each checkpoint; the last state."""
    ended = validations.exhausted()  # a run that was stopped early and is gone on with has nothing left to do
    for step in () if ended else course:
        state, done = step.state, step.number + 1
        loss = validations.after(done, state)
        journal.add(step.reading if loss is None else replace(step.reading, validation=loss))
        ended = validations.exhausted() or done == plan.steps
        regular = done % plan.checkpoint_every == 0 or ended
        if regular:
            export = partial(_last_tensors, backend, step) if ended else partial(backend.export, state)
            journal.checkpoint(done, export)
            require_equal(exchange, head_bytes(journal.head), "ledger")
        if ended:
            break
        if step.stop:
            journal.drain()
            if not regular:
                interrupted(done, backend.export(state))
            raise stopped(stop, done)
    journal.drain()
    require_equal(exchange, head_bytes(journal.head), "ledger")
    return state


def _last_tensors(backend: Backend, step: Step) -> Tensors:
    """Those of the run's last state, which no loss follows."""
    tensors = backend.export(step.state)
    step.reading.require_finite(tensors)
    return tensors
