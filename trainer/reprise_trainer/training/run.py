"""One run without its launch and its signature: check what was handed over, train, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reprise_trainer.config.read import RunConfig
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.numerics.proof import Proof
from reprise_trainer.secret_files import read_secret_files
from reprise_trainer.training.evaluating import EVALUATE, evaluate_once
from reprise_trainer.training.failure import write_failure
from reprise_trainer.training.journal import Emit
from reprise_trainer.training.ledger import FILE_NAME
from reprise_trainer.training.loop import Trained, train_along
from reprise_trainer.training.plan import Plan
from reprise_trainer.training.reading import NotFiniteError
from reprise_trainer.training.ready import Ready, Request, make_ready
from reprise_trainer.training.records.attempts import Attempt, Log, attempt, read_attempts
from reprise_trainer.training.records.resources import interfaces
from reprise_trainer.training.records.streams import Stream
from reprise_trainer.training.resume import Beginning, begin
from reprise_trainer.training.start import Parent
from reprise_trainer.training.stop import Stop
from reprise_trainer.training.validation import Validations, losses_until
from reprise_trainer.training.workers.following import announce, follow
from reprise_trainer.training.workers.group import SINGLE, Group

__all__ = ["Outcome", "Request", "run", "run_along"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was and what came out. `workers` is how many computed shards side by side; it decides nothing.
    `evaluated` is what `Evaluation.facts` says, and `reused` names the stages whose result is an earlier attempt's."""

    config: RunConfig
    source: OpenSnapshot
    plan: Plan
    backend: str
    backend_version: str
    workers: int
    proof: Proof
    trained: Trained
    evaluated: Mapping[str, Any]
    ledger_head: str
    ledger_lines: int
    attempts: tuple[Attempt, ...] = ()
    parent: Parent | None = None
    streams: Mapping[str, Stream] = field(default_factory=dict)
    reused: tuple[str, ...] = ()


def run(
    request: Request, emit: Emit, *, where: str = "run.toml", stop: Stop | None = None, group: Group = SINGLE
) -> Outcome:
    """Run what is requested, under the profile that this process already has; go on where an earlier attempt ended.

    Args:
        request: see `Request`.
        emit: called with each event.
        where: the configuration's name, for messages.
        stop: whether the run was asked to end.
        group: this process's place, the first, among those that share the work.

    Raises:
        InputError: the configuration doesn't hold, or the training diverged; or the workers can't share the shards.
        RefusedError: this process does not run under the profile; the snapshot is another, or is damaged; or the
            output folder holds another run.
        DoesNotHoldError: another worker runs something else, or has other bits.
        UnavailableError: another worker does not answer.
        StoppedError: the run was asked to end, and left a checkpoint.
        SystemFailureError: the backend can't keep the profile.
        StorageError: the output can't be written.
    """
    ready = make_ready(request, emit, where, group)
    beginning = replace(
        begin(request.output, ready.header), initial=ready.initial, sign=request.sign, leaving=group.leaving
    )
    announce(ready.exchange, beginning)
    for message in beginning.messages:
        emit({"event": "resumed", "step": beginning.step, "message": message})
    given = {"network": interfaces(), "secrets": tuple(read_secret_files())}
    with attempt(request.output, step=beginning.step, workers=group.size, **given) as log:
        try:
            trained = _train(ready, beginning, request.output, _noting_steps(emit, log), stop)
        except NotFiniteError as error:
            raise write_failure(request.output, request.config, error) from None
        ledger = beginning.ledger
        ledger.close()
        evaluated, reused = evaluate_once(ready, trained, request.output, emit)
    emit({"event": "evaluated", "split": ready.config.evaluate.split, **evaluated})
    return Outcome(
        config=ready.config,
        source=ready.source,
        plan=ready.plan,
        backend=ready.backend.name,
        backend_version=ready.backend.version,
        workers=group.size * ready.side_by_side,
        proof=ready.proof,
        trained=trained,
        evaluated=evaluated,
        ledger_head=ledger.head,
        ledger_lines=ledger.lines,
        attempts=read_attempts(request.output),
        parent=ready.parent,
        streams=ready.streams,
        reused=(EVALUATE,) if reused else (),
    )


def run_along(request: Request, *, where: str = "run.toml", stop: Stop | None = None, group: Group) -> None:
    """As a worker that is not the first, compute this worker's shards to the run's end; nothing is written.

    Args and raises: as for `run`.
    """
    ready = make_ready(request, lambda event: None, where, group)
    checkpoint, follower = follow(ready.exchange, request.output)
    losses = losses_until(request.output / FILE_NAME, checkpoint.step) if checkpoint else []
    train_along(
        ready.plan,
        ready.backend,
        ready.batches,
        ready.backend.load(checkpoint.tensors) if checkpoint else ready.initial,
        checkpoint.step if checkpoint else 0,
        follower,
        workers=ready.side_by_side,
        loaders=ready.config.data.workers,
        stop=stop,
        exchange=ready.exchange,
        validations=Validations(ready.validating, losses),
    )
    ready.exchange.close()


def _train(ready: Ready, beginning: Beginning, output: Path, emit: Emit, stop: Stop | None) -> Trained:
    several = {"exchange": ready.exchange} if ready.exchange.size > 1 else {}  # a loop of the user's has but one worker
    validating = {"validating": ready.validating} if ready.validating else {}
    trained = ready.stages.train(
        ready.plan,
        ready.backend,
        ready.batches,
        beginning,
        output,
        emit,
        workers=ready.side_by_side,
        loaders=ready.config.data.workers,
        stop=stop,
        **several,
        **validating,
    )
    ready.exchange.close()
    return trained


def _noting_steps(emit: Emit, log: Log) -> Emit:
    def noting(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            log.reached(event["step"])
        emit(event)

    return noting
