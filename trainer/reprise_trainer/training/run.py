"""One run without its launch and its signature: check what was handed over, train, evaluate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprise_trainer.backends.interface import Backend, State
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.data.batches import BatchSource
from reprise_trainer.data.snapshot import OpenSnapshot, open_snapshot
from reprise_trainer.errors import RefusedError
from reprise_trainer.evaluation.evaluate import Evaluation
from reprise_trainer.evaluation.judged import judge
from reprise_trainer.numerics.enter import require_profile
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.numerics.proof import Proof
from reprise_trainer.training.attempts import Attempt, Log, attempt, read_attempts
from reprise_trainer.training.journal import Emit
from reprise_trainer.training.ledger import Header
from reprise_trainer.training.loop import Trained, available_workers, first_state
from reprise_trainer.training.plan import TRAIN_SPLIT, Plan, make_backend, make_plan, open_batches
from reprise_trainer.training.prices import prices
from reprise_trainer.training.proving import prove_run
from reprise_trainer.training.resume import begin
from reprise_trainer.training.stages import PreprocessedBatches, load_stages, require_pure
from reprise_trainer.training.start import Parent, start_from
from reprise_trainer.training.stop import Stop


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run: the configuration's bytes, the digests of image and snapshot, the snapshot's folder, the
    folder for what comes out (empty, or as an earlier attempt of the same run left it), and the folder of the
    checkpoint that the configuration starts from, if any."""

    config: bytes
    image: str
    snapshot: str
    data: Path
    output: Path
    start: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was and what came out. `workers` is how many computed shards side by side; it decides nothing."""

    config: RunConfig
    source: OpenSnapshot
    plan: Plan
    backend: str
    backend_version: str
    workers: int
    proof: Proof
    trained: Trained
    evaluation: Evaluation
    ledger_head: str
    ledger_lines: int
    attempts: tuple[Attempt, ...] = ()
    parent: Parent | None = None


def run(request: Request, emit: Emit, *, where: str = "run.toml", stop: Stop | None = None) -> Outcome:
    """Run what is requested, under the profile that this process already has; go on where an earlier attempt ended.

    Args:
        request: see `Request`.
        emit: called with each event.
        where: the configuration's name, for messages.
        stop: whether the run was asked to end.

    Raises:
        InputError: the configuration doesn't hold, or the training diverged.
        RefusedError: this process does not run under the profile; the snapshot is another, or is damaged; or the
            output folder holds another run.
        StoppedError: the run was asked to end, and left a checkpoint.
        SystemFailureError: the backend can't keep the profile.
        StorageError: the output can't be written.
    """
    config = read_config(request.config, where=where)
    source = open_snapshot(request.data, expected=request.snapshot)
    emit({"event": "checked", "snapshot": source.digest, "message": _checked(source)})

    profile = PROFILES[config.run.profile]
    require_profile(profile, config.run.threads)
    for price in prices(config):
        emit({"event": "checked", "message": price})
    stages = load_stages(config.stages)
    plan = make_plan(config, source)
    backend = make_backend(config.train.backend, plan)
    backend.prepare(profile.backends[backend.name], config.run.threads)

    initial, parent = _start(config, request, backend, first_state(plan, backend), emit)
    said = parent.state if parent else ""
    header = Header(sha256_digest(request.config), source.digest, request.image, plan.seed, said)
    beginning = replace(begin(request.output, header), initial=initial)
    for message in beginning.messages:
        emit({"event": "resumed", "step": beginning.step, "message": message})
    workers = available_workers(plan.shards, config.run.threads)
    batches: BatchSource = open_batches(config.data, source, plan)
    if stages.preprocess is not None:
        require_pure(stages.preprocess, batches.batch(beginning.step).fields)
        batches = PreprocessedBatches(batches, stages.preprocess)
    proof = prove_run(profile, config.run.threads, plan, backend, initial, batches)
    emit({"event": "checked", "message": proof.line()})
    with attempt(request.output, step=beginning.step, workers=workers) as log:
        noting = _noting_steps(emit, log)
        loaders = config.data.workers
        trained = stages.train(
            plan, backend, batches, beginning, request.output, noting, workers=workers, loaders=loaders, stop=stop
        )
        ledger = beginning.ledger
        ledger.close()
        evaluation = judge(
            config.evaluate,
            source,
            backend,
            trained.state,
            trained_on=TRAIN_SPLIT,
            preprocess=stages.preprocess,
            own=stages.evaluate,
        )
    emit({"event": "evaluated", "split": config.evaluate.split, **evaluation.facts()})
    return Outcome(
        config=config,
        source=source,
        plan=plan,
        backend=backend.name,
        backend_version=backend.version,
        workers=workers,
        proof=proof,
        trained=trained,
        evaluation=evaluation,
        ledger_head=ledger.head,
        ledger_lines=ledger.lines,
        attempts=read_attempts(request.output),
        parent=parent,
    )


def _start(
    config: RunConfig, request: Request, backend: Backend, state: State, emit: Emit
) -> tuple[State, Parent | None]:
    """The state before step 0, and the checkpoint of another run that is in it, if any."""
    if config.start is None:
        return state, None
    if request.start is None:
        raise RefusedError("the configuration starts from a checkpoint, and the launcher brought none")
    state, parent = start_from(config.start, request.start, backend, state)
    emit({"event": "checked", "message": f"starts from {len(parent.tensors)} tensors of state {parent.state}"})
    return state, parent


def _noting_steps(emit: Emit, log: Log) -> Emit:
    def noting(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            log.reached(event["step"])
        emit(event)

    return noting


def _checked(source: OpenSnapshot) -> str:
    shards = sum(len(split.shards) for split in source.snapshot.splits.values())
    return f"snapshot {source.digest} checked: {source.snapshot.name}, {shards} shards, {source.size / 1e6:.1f} MB"
