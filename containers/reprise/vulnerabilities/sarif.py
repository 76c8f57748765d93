"""A scan's report as SARIF 2.1.0 (OASIS), which code-scanning services read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import reprise
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, Artifact
from reprise.vulnerabilities.match import Finding
from reprise.vulnerabilities.report import by_severity
from reprise.vulnerabilities.scan import ScanReport
from reprise.vulnerabilities.severity import Severity
from reprise_trainer.durable import write_durably

_LEVELS: dict[Severity, str] = {
    "unknown": "warning",
    "low": "note",
    "medium": "warning",
    "high": "error",
    "critical": "error",
}
_SCORES: dict[Severity, str] = {"low": "2.0", "medium": "5.5", "high": "8.0", "critical": "9.5"}
"""A score within each word's band, for readers that sort by number, where there is no CVSS score."""


def sarif(report: ScanReport, lock_folder: str) -> dict[str, Any]:
    """The SARIF log of one scan.

    Args:
        report: what was found.
        lock_folder: where the lock's files are, relative to the project ("locks/torch-cpu").
    """
    findings = by_severity(report.findings)
    rules = {each.id: each for each in findings}
    positions = {name: number for number, name in enumerate(rules)}
    driver = {
        "name": "reprise",
        "version": reprise.__version__,
        "rules": [_rule(each) for each in rules.values()],
    }
    results = [_result(each, positions[each.id], lock_folder) for each in findings]
    notes = [
        {"level": "warning", "message": {"text": f"{count} packages of {name} were not covered by {report.source}"}}
        for name, count in report.uncovered
    ]
    invocation = {"executionSuccessful": True, "toolExecutionNotifications": notes}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": results}],
    }


def write_sarif(report: ScanReport, lock_folder: str, path: Path) -> None:
    """Write the SARIF log of one scan to `path`, whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    text = json.dumps(sarif(report, lock_folder), ensure_ascii=False, indent=2)
    write_durably(path, text.encode() + b"\n")


def _rule(finding: Finding) -> dict[str, Any]:
    score = f"{finding.score:.1f}" if finding.score is not None else _SCORES.get(finding.severity)
    rule: dict[str, Any] = {
        "id": finding.id,
        "shortDescription": {"text": finding.summary or finding.id},
        "properties": {
            "tags": ["security", "vulnerability"],
            **({"security-severity": score} if score is not None else {}),
        },
    }
    web = [url for url in finding.references if url.startswith(("https://", "http://"))]
    return {**rule, "helpUri": web[0]} if web else rule


def _result(finding: Finding, position: int, lock_folder: str) -> dict[str, Any]:
    artifact = finding.artifact
    fixed = f"; fixed in {', '.join(finding.fixed)}" if finding.fixed else ""
    result: dict[str, Any] = {
        "ruleId": finding.id,
        "ruleIndex": position,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{artifact.name} {artifact.version}: {finding.summary or finding.id}{fixed}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": f"{lock_folder}/{_lock_file(artifact)}"},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": artifact.purl, "kind": "package"}],
            }
        ],
        "partialFingerprints": {"purl/v1": f"{finding.id}|{artifact.purl}"},
    }
    if finding.ignored:
        result["suppressions"] = [{"kind": "external", "justification": finding.ignored}]
    return result


def _lock_file(artifact: Artifact) -> str:
    return DEBIAN_LOCK if artifact.kind == "deb" else CONDA_LOCK
