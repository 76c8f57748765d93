"""Everything that a run is, before it is known where it begins: read, checked, met and set up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reprise_trainer.backends.interface import Backend, State
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.config.train import TRAIN_SPLIT
from reprise_trainer.data.batches import BatchSource
from reprise_trainer.data.shelf import open_fed_snapshot
from reprise_trainer.data.snapshot import OpenSnapshot, open_snapshot
from reprise_trainer.errors import InputError, RefusedError
from reprise_trainer.evaluation.evaluate import record_weights
from reprise_trainer.evaluation.judged import require_judgeable
from reprise_trainer.numerics.enter import require_profile
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.numerics.proof import Proof
from reprise_trainer.training.journal import Emit
from reprise_trainer.training.ledger import Header
from reprise_trainer.training.loop import available_workers, first_state, train
from reprise_trainer.training.plan import Plan, make_backend, make_plan, open_batches
from reprise_trainer.training.prices import prices
from reprise_trainer.training.proving import prove_run
from reprise_trainer.training.records.streams import Stream, find_streams
from reprise_trainer.training.stages import PreprocessedBatches, Stages, load_stages, require_pure
from reprise_trainer.training.start import Parent, start_from
from reprise_trainer.training.validation import Validating, make_validating
from reprise_trainer.training.workers.exchange import Exchange, require_equal
from reprise_trainer.training.workers.group import Group, own_shards
from reprise_trainer.training.workers.joining import join
from reprise_trainer.training.workers.machines import compare_machines


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be run: the configuration's bytes, the digests of image and snapshot, the snapshot's folder, the
    folder for what comes out (empty, or as an earlier attempt of the same run left it), the folder of the checkpoint
    that the configuration starts from (if any), what signs each checkpoint's folder, given its name (if anything), and
    the socket at which shards are asked for (None: they are all there).
    """

    config: bytes
    image: str
    snapshot: str
    data: Path
    output: Path
    start: Path | None = None
    sign: Callable[[Path, str], None] | None = None
    feed: Path | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A run that can begin. `initial` is its first state, and `parent` the checkpoint that it comes from, if any;
    `side_by_side` says how many shards this process computes at once."""

    config: RunConfig
    source: OpenSnapshot
    stages: Stages
    plan: Plan
    backend: Backend
    batches: BatchSource
    initial: State
    parent: Parent | None
    proof: Proof
    header: Header
    exchange: Exchange
    side_by_side: int
    validating: Validating | None = None
    streams: Mapping[str, Stream] = field(default_factory=dict)


def make_ready(request: Request, emit: Emit, where: str, group: Group) -> Ready:
    """Read and check what is requested, meet the other workers, and set up the backend.

    Args and raises: as for `run.run`.
    """
    config = read_config(request.config, where=where)
    source = _open(request)
    emit({"event": "checked", "snapshot": source.digest, "message": _checked(source)})
    profile, threads = PROFILES[config.run.profile], config.run.threads
    require_profile(profile, threads)
    for price in prices(config):
        emit({"event": "checked", "message": price})
    stages, plan = load_stages(config.stages), make_plan(config, source)
    require_judgeable(config.evaluate, source, plan.model)
    _require_sharing(group, plan, stages)

    exchange = join(config.train.backend, group)  # before the backend: a framework finds its devices once
    backend = make_backend(config.train.backend, plan)
    doubts = backend.prepare(profile.backends[backend.name], threads)
    initial, parent = _start(config, request, backend, first_state(plan, backend), emit)
    said = parent.state if parent else ""
    header = Header(sha256_digest(request.config), source.digest, request.image, plan.seed, said)
    require_equal(exchange, hashlib.sha256(canonical_json(header.line())).digest(), "run")

    batches: BatchSource = open_batches(config.data, source, plan)
    if stages.preprocess is not None:
        require_pure(stages.preprocess, batches.batch(0).fields)
        batches = PreprocessedBatches(batches, stages.preprocess)
    record_weights(batches.batch(0).fields, plan.batch_size)  # the evaluation would refuse what is none, too late
    proof = prove_run(profile, threads, plan, backend, initial, batches, doubts)
    proof = compare_machines(exchange, backend.name, proof)
    emit({"event": "checked", "message": proof.line()})
    side_by_side = available_workers(plan.shards // group.size, threads, group.on_host)
    validating = make_validating(
        config.validation, source, backend, trained_on=TRAIN_SPLIT, preprocess=stages.preprocess
    )
    return Ready(
        config=config,
        source=source,
        stages=stages,
        plan=plan,
        backend=backend,
        batches=batches,
        initial=initial,
        parent=parent,
        proof=proof,
        header=header,
        exchange=exchange,
        side_by_side=side_by_side,
        validating=validating,
        streams=find_streams(config, backend),
    )


def _open(request: Request) -> OpenSnapshot:
    if request.feed is None:
        return open_snapshot(request.data, expected=request.snapshot)
    return open_fed_snapshot(request.data, request.feed, expected=request.snapshot)


def _require_sharing(group: Group, plan: Plan, stages: Stages) -> None:
    """Refuse what several workers can't do, before anybody waits for another."""
    own_shards(group.rank, group.size, plan.shards)
    if group.size > 1 and stages.train is not train:
        raise InputError(
            f"stages.train: a loop of your own runs in one worker, not in {group.size}",
            hint="Leave --workers away.",
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


def _checked(source: OpenSnapshot) -> str:
    shards = sum(len(split.shards) for split in source.snapshot.splits.values())
    what = f"{source.snapshot.name}, {shards} shards, {source.size / 1e6:.1f} MB"
    later = "" if source.shelf is None else ", each checked when it comes"
    return f"snapshot {source.digest} checked: {what}{later}"
