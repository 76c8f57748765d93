"""Vulnerabilities of locked wheels as pip-audit's services know them (PyPI's own data, or OSV's).

pip-audit is called as a program on a list of what is locked: its Python modules are not a public interface. It knows
Python packages alone; the report says that the others were not covered.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from packaging.version import Version

from reprise.lock.model import Artifact
from reprise.vulnerabilities.match import Finding, Subject, subject_of
from reprise.vulnerabilities.scan import ScanReport, report
from reprise_trainer.errors import SystemFailureError, UnavailableError

Service = Literal["pypi", "osv"]


def scan_with_service(target: str, artifacts: Iterable[Artifact], service: Service, *, osv_url: str = "") -> ScanReport:
    """Ask a service of pip-audit about every locked wheel.

    Args:
        target: what is scanned, for people.
        artifacts: the locked artifacts.
        service: PyPI's JSON service, or OSV's query service.
        osv_url: address of the OSV service's query; empty for the one that pip-audit knows.

    Raises:
        SystemFailureError: pip-audit is not installed.
        UnavailableError: the service does not answer, or knows none of the wheels.
    """
    subjects = [subject for each in artifacts if (subject := subject_of(each)) is not None]
    wheels = [subject for subject in subjects if subject.ecosystem == "PyPI"]
    return read_answer(target, f"pip-audit service {service}", subjects, _ask(wheels, service, osv_url))


def read_answer(target: str, source: str, subjects: Sequence[Subject], document: Mapping[str, Any]) -> ScanReport:
    """The report that pip-audit's JSON document gives.

    A package that the service does not know is skipped by pip-audit; here it counts as not covered, by its name.

    Raises:
        UnavailableError: the service knows nothing of any package.
    """
    wheels = {subject.name: subject for subject in subjects if subject.ecosystem == "PyPI"}
    vulnerable = {str(each["name"]): each["vulns"] for each in document["dependencies"] if "skip_reason" not in each}
    findings = [_finding(wheels[name].artifact, each) for name, found in vulnerable.items() for each in found]
    placed = [
        subject
        if subject.ecosystem != "PyPI" or subject.name in vulnerable
        else replace(subject, ecosystem=f"PyPI {subject.name}")
        for subject in subjects
    ]
    return report(target, source, placed, {"PyPI"} if vulnerable else set(), findings)


def _ask(wheels: Iterable[Subject], service: Service, osv_url: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="reprise-scan-") as name:
        requirements = Path(name) / "requirements.txt"
        # the release that a local build (`+cpu`) is of: services know no local versions
        lines = [f"{wheel.name}=={Version(wheel.version).public}\n" for wheel in wheels]
        requirements.write_text("".join(lines), encoding="utf-8")
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
        command += ["--format=json", "--progress-spinner=off", f"--vulnerability-service={service}"]
        command += [f"--cache-dir={name}/cache", *([f"--osv-url={osv_url}"] if osv_url else [])]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named pip_audit" in answer.stderr:
        raise SystemFailureError("pip-audit is not installed", hint="Install it with: pip install 'reprise[audit]'")
    try:
        document = json.loads(answer.stdout)
        if answer.returncode in (0, 1) and isinstance(document["dependencies"], list):
            return dict(document)
    except (ValueError, KeyError, TypeError):
        pass
    last = next((line for line in reversed(answer.stderr.splitlines()) if line.strip()), "no message")
    raise UnavailableError(
        f"pip-audit's service {service} gave no answer, so that nothing was scanned: {last.strip()[:300]}",
        hint="Check the network and pip's proxy, or scan with --database.",
    )


def _finding(artifact: Artifact, vulnerability: dict[str, Any]) -> Finding:
    known = {vulnerability["id"], *vulnerability.get("aliases", ())}
    best = next((name for name in sorted(known) if name.startswith("CVE-")), vulnerability["id"])
    return Finding(
        id=best,
        aliases=tuple(sorted(known - {best})),
        artifact=artifact,
        summary=str(vulnerability.get("description") or "").strip().partition("\n")[0],
        severity="unknown",  # pip-audit passes none on
        fixed=tuple(vulnerability.get("fix_versions", ())),
    )
