"""A scan by whichever data a person named, less what they decided to ignore."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from reprise.lock.model import Lock
from reprise.vulnerabilities.ignore import Ignored, apply_ignored
from reprise.vulnerabilities.pip_audit import Service, scan_with_service
from reprise.vulnerabilities.scan import ScanReport, scan_with_database


@dataclass(frozen=True, slots=True)
class Data:
    """Where advisories come from: a `database` folder of OSV files, or else a `service` of pip-audit (`service_url`
    is the address of OSV's, empty for the one that pip-audit knows)."""

    database: Path | None = None
    service: Service = "pypi"
    service_url: str = ""


def scan(target: str, lock: Lock, data: Data, ignored: Sequence[Ignored], today: date) -> ScanReport:
    """Scan a lock.

    Args:
        target: what is scanned, for people.
        lock: its artifacts are matched, the builder's own tools among them.
        data: where advisories come from.
        ignored: decisions, each of which holds until its last day.
        today: the day that they are judged by.

    Raises:
        UnavailableError, NotFoundError, InputError, SystemFailureError: as `scan_with_database`, `scan_with_service`.
    """
    if data.database is not None:
        report = scan_with_database(target, lock.artifacts, data.database)
    else:
        report = scan_with_service(target, lock.artifacts, data.service, osv_url=data.service_url)
    return replace(report, findings=tuple(apply_ignored(report.findings, ignored, today)))
