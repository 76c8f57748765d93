"""A measured image, a launch and an outcome → the run record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import MappingProxyType

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.delegation import format_time
from reprise_trainer.identity.start import Identity
from reprise_trainer.numerics.profiles import PROFILES, Profile
from reprise_trainer.numerics.proof import Proof
from reprise_trainer.training.records.record import (
    AttemptFacts,
    CheckpointFacts,
    DriverFacts,
    ImageFacts,
    LedgerFacts,
    ParentFacts,
    ProfileFacts,
    ProofFacts,
    ResourceFacts,
    RunKey,
    RunRecord,
    StreamFacts,
    WorkerFacts,
)
from reprise_trainer.training.records.resources import machine, peak_memory, process_times
from reprise_trainer.training.run import Outcome


def describe_run(
    identity: Identity,
    config: bytes,
    outcome: Outcome,
    key: RunKey,
    *,
    started: datetime,
    sampled: Mapping[str, int] = MappingProxyType({}),
) -> RunRecord:
    """The record of a run that has just ended.

    Args:
        identity: the image as measured at the start, and the launch.
        config: the configuration's bytes.
        outcome: what the run was and what came out.
        key: the run's key; the record names its delegation.
        started: when the run started, with a time zone.
        sampled: what was sampled while it ran, for the record.
    """
    labels = identity.measurement.inventory.config.get("config", {}).get("Labels", {})
    run = outcome.config.run
    profile = PROFILES[run.profile]
    return RunRecord(
        run=identity.launch.run,
        image=_image_facts(identity),
        lock=labels.get("reprise.lock", ""),
        source=labels.get("reprise.source", ""),
        environment=labels.get("reprise.environment", ""),
        engine=identity.launch.engine,
        config=sha256_digest(config),
        config_text=config.decode(),
        snapshot=outcome.source.digest,
        snapshot_name=outcome.source.snapshot.name,
        profile=ProfileFacts(
            name=profile.name, promise=_promise(profile, outcome.proof), table=profile.table(run.threads)
        ),
        proof=_proof_facts(outcome.proof),
        seed=run.seed,
        random_streams={name: StreamFacts(**asdict(each)) for name, each in outcome.streams.items()},
        backend=outcome.backend,
        backend_version=outcome.backend_version,
        ledger=LedgerFacts(head=outcome.ledger_head, lines=outcome.ledger_lines),
        checkpoints=tuple(CheckpointFacts(step=step, state=state) for step, state in outcome.trained.checkpoints),
        state=outcome.trained.digest,
        metrics=outcome.evaluated["metrics"],
        fairness=outcome.evaluated["fairness"],
        membership=outcome.evaluated["membership"],
        reused=outcome.reused,
        resources=_resource_facts(outcome.workers, sampled),
        machine=machine(),
        driver=_driver_facts(identity),
        started=format_time(started),
        finished=format_time(datetime.now(UTC)),
        delegation=key.delegation,
        attempts=tuple(AttemptFacts(**asdict(each)) for each in outcome.attempts),
        parent=ParentFacts(**asdict(outcome.parent)) if outcome.parent else None,
    )


def _image_facts(identity: Identity) -> ImageFacts:
    measured = identity.measurement
    return ImageFacts(
        digest=identity.digest,
        files=measured.files,
        bytes_hashed=measured.bytes,
        milliseconds=round(measured.seconds * 1000),
    )


def _driver_facts(identity: Identity) -> DriverFacts | None:
    driver = identity.driver
    if not driver.files:
        return None
    return DriverFacts(
        version=driver.version,
        module=driver.module,
        files={f"/{file.path}": file.sha256 for file in driver.files},
        library_cache=driver.cache,
    )


def _promise(profile: Profile, proof: Proof) -> str:
    return profile.promise if proof.status != "unproven" else f"withdrawn for this run: {'; '.join(proof.reasons)}"


def _proof_facts(proof: Proof) -> ProofFacts:
    return ProofFacts(
        status=proof.status,
        reasons=proof.reasons,
        machine=proof.machine,
        operations=dict(proof.operations),
        workers=tuple(WorkerFacts(**asdict(each)) for each in proof.workers),
    )


def _resource_facts(workers: int, sampled: Mapping[str, int]) -> ResourceFacts:
    wall, cpu = process_times()
    return ResourceFacts(
        workers=workers,
        wall_milliseconds=round(wall * 1000),
        cpu_milliseconds=round(cpu * 1000),
        peak_memory_bytes=peak_memory(),
        sampled=dict(sampled),
    )
