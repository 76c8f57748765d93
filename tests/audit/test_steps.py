from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reprise.audit.evidence import Evidence, VerifiedRun
from reprise.audit.report import AuditReport, Part
from reprise.audit.steps import Replayed, Steps, audit_run
from reprise_trainer.errors import UnavailableError

IMAGE, SNAPSHOT, STATE, OTHER = (f"sha256:{digit * 64}" for digit in "1234")
LedgerOf = Callable[..., tuple[bytes, str, int]]


class Bench:
    """Steps that give back what a faithful machine would, unless told otherwise, and remember what was asked."""

    def __init__(self, run: Any, **found: Any) -> None:
        self.run, self.found, self.done = run, found, list[str]()

    def steps(self) -> Steps:
        def step(name: str, good: Any) -> Callable[[VerifiedRun], Any]:
            def do(*arguments: Any) -> Any:
                self.done.append(name)
                return self.found.get(name, good)

            return do

        return Steps(
            rebuild=step("rebuild", Part(IMAGE, IMAGE, True)),
            remake=step("remake", Part(SNAPSHOT, SNAPSHOT, True)),
            replay=step("replay", Replayed(self.run.ledger, self.run.head, STATE, {})),
            obstacle=step("obstacle", ""),
            doubt=step("doubt", ""),
        )

    def audit(self, evidence: Evidence, at: datetime | None = None) -> AuditReport:
        return audit_run(evidence, self.run.policy(), self.steps(), at=at)


def test_a_faithful_run_has_the_same_bits(run: Any) -> None:
    bench = Bench(run)
    report = bench.audit(run.evidence())
    assert report.verdict == "same bits", report.first_difference
    assert report.record.holds and "'own'" in report.record.why
    assert bench.done == ["rebuild", "remake", "obstacle", "replay", "doubt"]
    assert set(report.seconds) == {
        "check the record", "rebuild the image", "make the snapshot again", "replay the run"
    }  # fmt: skip


def assert_record_fails(bench: Bench, report: AuditReport, why: str) -> None:
    assert report.verdict == "different"
    assert not report.record.holds and why in report.record.why, report.record.why
    assert bench.done == []
    assert all(part.equal is None for part in report.parts.values())
    assert set(report.as_json()) >= {"verdict", "image", "data", "ledger", "state"}


def test_an_edited_field_breaks_the_records_signature(run: Any) -> None:
    evidence = run.evidence()
    bundle = json.loads(evidence.record)
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["state"] = OTHER
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    bench = Bench(run)
    report = bench.audit(replace(evidence, record=json.dumps(bundle).encode()))
    assert_record_fails(bench, report, "the run record: the signature is not by a known key")


def test_a_strangers_record_and_delegation_are_refused(run: Any, stranger: Any) -> None:
    bench = Bench(run)
    assert_record_fails(bench, bench.audit(stranger.evidence()), "the delegation: the signature is not by a known key")


def test_a_strangers_record_under_a_good_delegation_is_refused(run: Any, stranger: Any) -> None:
    bench = Bench(run)
    evidence = replace(stranger.evidence(), delegation=run.evidence().delegation)
    assert_record_fails(bench, bench.audit(evidence), "the run record: the signature is not by a known key")


def test_a_delegation_for_another_image_is_refused(run: Any) -> None:
    bench = Bench(run)
    evidence = replace(run.evidence(), delegation=run.delegation(image=OTHER))
    assert_record_fails(bench, bench.audit(evidence), OTHER)


def test_a_second_delegation_of_the_same_run_is_not_the_records_own(run: Any) -> None:
    bench = Bench(run)
    evidence = replace(run.evidence(), delegation=run.delegation())
    assert_record_fails(bench, bench.audit(evidence), "the run record's delegation is")


def test_an_expired_delegation_is_refused(run: Any) -> None:
    bench = Bench(run)
    delegation = run.delegation(lifetime=timedelta(minutes=1))
    assert_record_fails(bench, bench.audit(replace(run.evidence(), delegation=delegation)), "expired")
    bench = Bench(run)
    assert_record_fails(bench, bench.audit(run.evidence(), at=datetime(2036, 1, 1, tzinfo=UTC)), "expired")


def test_a_record_without_its_own_configuration_is_refused(run: Any) -> None:
    bench = Bench(run)
    report = bench.audit(run.evidence(config_text="[run]\nseed = 2\n"))
    assert_record_fails(bench, report, "configuration")


def test_a_record_that_measured_another_image_is_refused(run: Any) -> None:
    image = {"digest": OTHER, "files": 1, "bytes_hashed": 1, "milliseconds": 1}
    bench = Bench(run)
    assert_record_fails(bench, bench.audit(run.evidence(image=image)), "image")


@pytest.mark.parametrize("junk", [b"", b"{}", b"[" * 100_000])
@pytest.mark.parametrize(("which", "name"), [("record", "run record"), ("delegation", "delegation")])
def test_junk_for_a_document_is_refused(run: Any, which: str, name: str, junk: bytes) -> None:
    bench = Bench(run)
    assert_record_fails(bench, bench.audit(replace(run.evidence(), **{which: junk})), f"the {name}: ")


def assert_ledger_fails(bench: Bench, report: AuditReport, why: str) -> None:
    assert report.verdict == "different"
    assert report.record.holds
    assert report.first_difference.startswith("image") or why in report.first_difference
    assert report.parts["ledger"].equal is False and why in report.parts["ledger"].difference
    assert bench.done == []


def test_a_ledger_edited_by_one_digit_names_the_line(run: Any) -> None:
    edited = run.ledger.replace(b"0x1.0000000000000p-2", b"0x1.0000000000001p-2")
    assert edited != run.ledger
    bench = Bench(run)
    assert_ledger_fails(bench, bench.audit(replace(run.evidence(), ledger=edited)), "line 3 breaks the chain")


def test_a_consistent_forged_ledger_has_another_head(run: Any, ledger_of: LedgerOf) -> None:
    forged, head, _ = ledger_of((0.5, 0.2, 0.125))
    bench = Bench(run)
    assert_ledger_fails(bench, bench.audit(replace(run.evidence(), ledger=forged)), head)


def test_a_ledger_cut_short_is_refused(run: Any) -> None:
    bench = Bench(run)
    assert_ledger_fails(bench, bench.audit(replace(run.evidence(), ledger=run.ledger[:-5])), "cut short")


@pytest.mark.parametrize("field", ["config", "snapshot", "image"])
def test_a_ledger_of_another_run_is_refused(run: Any, ledger_of: LedgerOf, field: str) -> None:
    other = replace(run, **dict(zip(("ledger", "head", "lines"), ledger_of(**{field: OTHER}), strict=True)))
    bench = Bench(other)
    assert_ledger_fails(bench, bench.audit(other.evidence()), OTHER)


def test_checkpoints_that_the_ledger_does_not_hold_are_refused(run: Any) -> None:
    bench = Bench(run)
    report = bench.audit(run.evidence(checkpoints=[{"step": 2, "state": STATE}]))
    assert_ledger_fails(bench, report, "checkpoints")


def test_a_rebuilt_image_that_differs_ends_the_audit(run: Any) -> None:
    bench = Bench(run, rebuild=Part(IMAGE, OTHER, False, "layer 3 (torch): other content"))
    report = bench.audit(run.evidence())
    assert report.verdict == "different" and report.first_difference == "image: layer 3 (torch): other content"
    assert bench.done == ["rebuild"]


def test_a_snapshot_that_differs_ends_the_audit(run: Any) -> None:
    bench = Bench(run, remake=Part(SNAPSHOT, OTHER, False, "another snapshot"))
    report = bench.audit(run.evidence())
    assert report.verdict == "different" and report.first_difference == "data: another snapshot"
    assert bench.done == ["rebuild", "remake"]


def test_a_replay_that_differs_names_the_first_line(run: Any, ledger_of: LedgerOf) -> None:
    ledger, head, _ = ledger_of((0.5, 0.25, 0.126), state=OTHER)
    report = Bench(run, replay=Replayed(ledger, head, OTHER, {})).audit(run.evidence())
    assert report.verdict == "different"
    assert report.first_difference.startswith("ledger: line 4 (step 2): loss")
    assert report.parts["state"].equal is False


def test_a_metric_that_differs_is_named(run: Any) -> None:
    report = Bench(run, replay=Replayed(run.ledger, run.head, STATE, {"correct": 3})).audit(run.evidence())
    assert report.verdict == "different"
    assert report.first_difference == "metrics: correct is 3, the record says None"


def test_equal_losses_with_another_state_are_different(run: Any) -> None:
    report = Bench(run, replay=Replayed(run.ledger, run.head, OTHER, {})).audit(run.evidence())
    assert report.verdict == "different" and report.first_difference.startswith("state: ")


def test_a_lie_signed_by_the_runs_own_key_is_found_by_the_replay(run: Any, ledger_of: LedgerOf) -> None:
    lie, head, lines = ledger_of((0.5, 0.25, 0.1))
    liar = replace(run, ledger=lie, head=head, lines=lines)
    report = Bench(run).audit(liar.evidence())
    assert report.record.holds
    assert report.verdict == "different" and report.first_difference.startswith("ledger: line 4 (step 2): loss")


def test_a_cpu_that_cannot_keep_the_profile_is_not_a_difference(run: Any) -> None:
    bench = Bench(run, obstacle="this CPU lacks avx2")
    report = bench.audit(run.evidence())
    assert report.verdict == "not comparable here" and report.first_difference == "this CPU lacks avx2"
    assert "replay" not in bench.done
    assert report.parts["image"].equal and report.parts["data"].equal


def test_a_difference_on_a_cpu_without_the_promise_is_not_comparable(run: Any) -> None:
    bench = Bench(run, doubt="another maker", replay=Replayed(run.ledger, run.head, OTHER, {}))
    assert bench.audit(run.evidence()).verdict == "not comparable here"
    assert Bench(run, doubt="another maker").audit(run.evidence()).verdict == "same bits"


def test_a_step_that_cannot_be_done_gives_no_verdict(run: Any) -> None:
    def unavailable(run: VerifiedRun) -> Part:
        raise UnavailableError("nobody has it")

    steps = replace(Bench(run).steps(), rebuild=unavailable)
    with pytest.raises(UnavailableError):
        audit_run(run.evidence(), run.policy(), steps)
