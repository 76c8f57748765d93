"""One run without its launch and its signature: check what was handed over, train, evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot, open_snapshot
from reprise_trainer.evaluation.evaluate import Evaluation
from reprise_trainer.evaluation.judged import judge
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.ledger import FILE_NAME, Header
from reprise_trainer.training.ledger_writer import LedgerWriter
from reprise_trainer.training.loop import Emit, Trained, available_workers, train
from reprise_trainer.training.plan import TRAIN_SPLIT, Plan, make_backend, make_plan


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run: the configuration's bytes, the digests of image and snapshot, the snapshot's folder, and an
    empty folder for what comes out."""

    config: bytes
    image: str
    snapshot: str
    data: Path
    output: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was and what came out. `workers` is how many computed shards side by side; it decides nothing."""

    config: RunConfig
    source: OpenSnapshot
    plan: Plan
    backend: str
    backend_version: str
    workers: int
    trained: Trained
    evaluation: Evaluation
    ledger_head: str
    ledger_lines: int


def run(request: Request, emit: Emit, *, where: str = "run.toml") -> Outcome:
    """Run what is requested, under the profile that this process already has.

    Args:
        request: see `Request`.
        emit: called with each event.
        where: the configuration's name, for messages.

    Raises:
        InputError: the configuration doesn't hold, or the training diverged.
        RefusedError: the snapshot is another, or is damaged.
        SystemFailureError: the backend can't keep the profile.
        StorageError: the output can't be written.
    """
    config = read_config(request.config, where=where)
    source = open_snapshot(request.data, expected=request.snapshot)
    emit({"event": "checked", "snapshot": source.digest, "message": _checked(source)})

    plan = make_plan(config, source)
    backend = make_backend(config.train.backend, plan)
    backend.prepare(PROFILES[config.run.profile].backends[backend.name], config.run.threads)

    header = Header(sha256_digest(request.config), source.digest, request.image, plan.seed)
    ledger = LedgerWriter(request.output / FILE_NAME, header)
    batches = Batches(source, TRAIN_SPLIT, seed=plan.seed, batch_size=plan.batch_size)
    workers = available_workers(plan.shards, config.run.threads)
    trained = train(plan, backend, batches, ledger, request.output, emit, workers=workers)
    ledger.close()

    evaluation = judge(config.evaluate, source, backend, trained.state, trained_on=TRAIN_SPLIT)
    emit({"event": "evaluated", "split": config.evaluate.split, **evaluation.facts()})
    return Outcome(
        config, source, plan, backend.name, backend.version, workers, trained, evaluation, ledger.head, ledger.lines
    )


def _checked(source: OpenSnapshot) -> str:
    shards = sum(len(split.shards) for split in source.snapshot.splits.values())
    return f"snapshot {source.digest} checked: {source.snapshot.name}, {shards} shards, {source.size / 1e6:.1f} MB"
