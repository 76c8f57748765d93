"""A scan's report as JSON and as the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reprise.vulnerabilities.match import Finding
from reprise.vulnerabilities.scan import ScanReport
from reprise.vulnerabilities.severity import ORDER

HEADER = ("severity", "id", "package", "locked", "fixed in", "summary")


def as_json(report: ScanReport) -> dict[str, Any]:
    """The report as a document, worst findings first."""
    return {
        "target": report.target,
        "source": report.source,
        "covered": dict(report.covered),
        "uncovered": dict(report.uncovered),
        "findings": [_finding(each) for each in by_severity(report.findings)],
    }


def table(report: ScanReport) -> list[tuple[str, ...]]:
    """One row a finding, as `HEADER` says, worst first."""
    return [
        (
            f"ignored ({each.severity})" if each.ignored else each.severity,
            each.id,
            each.artifact.name,
            each.artifact.version,
            ", ".join(each.fixed) or "-",
            f"ignored: {each.ignored}" if each.ignored else each.summary[:80],
        )
        for each in by_severity(report.findings)
    ]


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first, ignored ones last; then by package and id."""

    def place(finding: Finding) -> tuple[bool, int, str, str]:
        return bool(finding.ignored), -ORDER.index(finding.severity), finding.artifact.name, finding.id

    return sorted(findings, key=place)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.id,
        "aliases": list(finding.aliases),
        "purl": finding.artifact.purl,
        "package": finding.artifact.name,
        "version": finding.artifact.version,
        "severity": finding.severity,
        "score": finding.score,
        "fixed": list(finding.fixed),
        "summary": finding.summary,
        "references": list(finding.references),
        "ignored": finding.ignored or None,
    }
