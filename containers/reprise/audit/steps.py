"""The audit: record, image, data, replay, comparison; each step a function that the next one builds on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reprise.audit.compare import compare_digests, compare_ledgers, compare_metrics, record_metrics
from reprise.audit.evidence import Evidence, VerifiedRun, verify_evidence
from reprise.audit.report import PARTS, AuditReport, Part, PartName, RecordCheck
from reprise.events import OnEvent, ignore
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError
from reprise_trainer.identity.delegation import format_time
from reprise_trainer.identity.policy import Policy
from reprise_trainer.training.ledger import verify_ledger
from reprise_trainer.training.records.record import ProofFacts


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay gave: the ledger's bytes, its head and the last state's digest (`sha256:<hex>`), what it was
    evaluated to, and what this machine's operations computed at its start (None where the trainer did not say)."""

    ledger: bytes
    head: str
    state: str
    metrics: Mapping[str, Any]
    proof: ProofFacts | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """What an audit does with a run; `reprise.audit.replay` has the real ones.

    `obstacle` says why this machine cannot give the run's bits at all (the replay is then left out), and `doubt` why a
    replay that differs would not count; both are empty where nothing speaks against it.
    """

    rebuild: Callable[[VerifiedRun], Part]
    remake: Callable[[VerifiedRun], Part]
    replay: Callable[[VerifiedRun], Replayed]
    obstacle: Callable[[VerifiedRun], str]
    doubt: Callable[[VerifiedRun, ProofFacts | None], str]


@dataclass(slots=True)
class _Audit:
    """One audit on its way: the parts so far and the seconds of each step."""

    on_event: OnEvent
    parts: dict[PartName, Part] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.on_event({"event": "phase", "name": name})
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 3)

    def report(self, check: RecordCheck, obstacle: str = "") -> AuditReport:
        return AuditReport(check, self.parts, obstacle, self.seconds)


def audit_run(
    evidence: Evidence, policy: Policy, steps: Steps, *, at: datetime | None = None, on_event: OnEvent = ignore
) -> AuditReport:
    """Audit one run. A step that fails its comparison ends the audit: what follows from it would prove nothing.

    Args:
        evidence: the run's documents.
        policy: whose delegations count.
        steps: how the image is rebuilt, the snapshot made again, the run replayed.
        at: the time at which the delegation's expiry is judged; see `verify_record`.
        on_event: told of each phase.

    Raises:
        RepriseError: a step could not be done (no network, no engine, no space): no verdict.
    """
    audit = _Audit(on_event)
    with audit.phase("check the record"):
        try:
            run = verify_evidence(evidence, policy, at)
        except (DoesNotHoldError, InputError) as error:
            why = " ".join(filter(None, (error.message, error.hint)))
            audit.parts.update({name: Part("", difference="not compared: the record does not hold") for name in PARTS})
            return audit.report(RecordCheck(False, why))
    check = RecordCheck(True, _why_it_holds(run))
    audit.parts.update(_nothing_compared(run))
    if (part := _check_ledger(evidence, run)).equal is False:
        audit.parts["ledger"] = part
        return audit.report(check)
    with audit.phase("rebuild the image"):
        audit.parts["image"] = steps.rebuild(run)
    if not audit.parts["image"].equal:
        return audit.report(check)
    with audit.phase("make the snapshot again"):
        audit.parts["data"] = steps.remake(run)
    if not audit.parts["data"].equal:
        return audit.report(check)
    if obstacle := steps.obstacle(run):
        return audit.report(check, obstacle)
    with audit.phase("replay the run"):
        replayed = steps.replay(run)
    record = run.record
    audit.parts["ledger"] = compare_ledgers(evidence.ledger, replayed.ledger, record.ledger.head, replayed.head)
    audit.parts["state"] = compare_digests(record.state, replayed.state, "the replay's last state")
    audit.parts["metrics"] = compare_metrics(record_metrics(record), replayed.metrics)
    return audit.report(check, steps.doubt(run, replayed.proof))


def _why_it_holds(run: VerifiedRun) -> str:
    witnessed = run.chain.witnessed
    logged = ["it is in a log"] if witnessed.logged else []
    timed = [f"it was there at {format_time(witnessed.time)}, as others prove"] if witnessed.time else []
    vouched = f"signed by the run's key, for which key {run.chain.key_name!r} of the policy vouches"
    return "; ".join((vouched, *logged, *timed))


def _nothing_compared(run: VerifiedRun) -> dict[PartName, Part]:
    record = run.record
    why = "not compared: an earlier step differs"
    return {
        "image": Part(record.image.digest, difference=why),
        "data": Part(record.snapshot, difference=why),
        "ledger": Part(record.ledger.head, difference=why),
        "state": Part(record.state, difference=why),
        "metrics": Part(sha256_digest(canonical_json(record_metrics(record))), difference=why),
    }


def _check_ledger(evidence: Evidence, run: VerifiedRun) -> Part:
    """Whether the ledger that came with the record is the one that the record names, and of the same run."""
    record = run.record
    try:
        ledger = verify_ledger(evidence.ledger, record.ledger.head)
    except RepriseError as error:
        return Part(record.ledger.head, "", False, error.message)
    header = ledger.header
    for what, said, found in (
        ("configuration", record.config, header.config),
        ("snapshot", record.snapshot, header.snapshot),
        ("image", record.image.digest, header.image),
        ("seed", record.seed, header.seed),
        ("parent", record.parent.state if record.parent else "", header.parent),
    ):
        if said != found:
            return Part(record.ledger.head, ledger.head, False, f"its header's {what} is {found}, the record's {said}")
    states = {point.step: point.state for point in record.checkpoints}
    if ledger.checkpoints != states:
        return Part(record.ledger.head, ledger.head, False, "its checkpoints are not those that the record lists")
    return Part(record.ledger.head, ledger.head)
