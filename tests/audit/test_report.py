from __future__ import annotations

import json

import pytest

from reprise.audit.report import PARTS, AuditReport, Part, PartName, RecordCheck, Verdict

GOOD = RecordCheck(True, "signed")
EQUAL, DIFFERS, UNKNOWN = (
    Part("a", "a", True),
    Part("a", "b", False, "a against b"),
    Part("a", difference="not compared"),
)


def report(obstacle: str = "", record: RecordCheck = GOOD, **parts: Part) -> AuditReport:
    all_parts: dict[PartName, Part] = {name: parts.get(name, EQUAL) for name in PARTS}
    return AuditReport(record, all_parts, obstacle, {"replay": 1.5})


@pytest.mark.parametrize(
    ("each", "verdict"),
    [
        (report(), "same bits"),
        (report(ledger=DIFFERS), "different"),
        (report(state=DIFFERS), "different"),
        (report(image=DIFFERS, data=UNKNOWN, ledger=UNKNOWN, state=UNKNOWN), "different"),
        (report(record=RecordCheck(False, "forged")), "different"),
        (report("lacks avx2", ledger=UNKNOWN, state=UNKNOWN), "not comparable here"),
        (report("another maker", ledger=DIFFERS, state=DIFFERS), "not comparable here"),
        (report("another maker"), "same bits"),
        (report("lacks avx2", image=DIFFERS, ledger=UNKNOWN, state=UNKNOWN), "different"),
        (report("lacks avx2", data=DIFFERS, ledger=UNKNOWN, state=UNKNOWN), "different"),
        (report("lacks avx2", record=RecordCheck(False, "forged")), "different"),
        (report(ledger=UNKNOWN), "different"),
    ],
)
def test_the_verdict_follows_from_the_parts(each: AuditReport, verdict: Verdict) -> None:
    assert each.verdict == verdict


def test_same_bits_needs_every_part() -> None:
    for name in PARTS:
        for part in (DIFFERS, UNKNOWN):
            for obstacle in ("", "other CPU"):
                assert report(obstacle, **{name: part}).verdict != "same bits"


def test_the_first_difference_is_the_cause() -> None:
    assert report(image=DIFFERS, data=UNKNOWN).first_difference == "image: a against b"
    assert report(record=RecordCheck(False, "forged"), image=DIFFERS).first_difference == "record: forged"
    assert report("no avx2", state=DIFFERS).first_difference == "no avx2"
    assert report().first_difference == ""


def test_the_json_has_the_keys_that_others_read() -> None:
    document = json.loads(json.dumps(report().as_json()))
    assert {"verdict", "image", "data", "ledger", "state"} <= document.keys()
    assert document["image"] == {"expected": "a", "found": "a", "equal": True, "difference": ""}
