"""What a person has looked at and decided to live with, for a time: a TOML file.

[[ignore]]
id = "CVE-2026-0001"
reason = "we never parse XML from strangers"
until = 2026-12-31
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from reprise.vulnerabilities.match import Finding
from reprise_trainer.errors import InputError, NotFoundError

_KEYS = {"id", "reason", "until"}


@dataclass(frozen=True, slots=True)
class Ignored:
    """One decision: any of a vulnerability's names, why, and the last day on which it holds."""

    id: str
    reason: str
    until: date


def read_ignored(path: Path) -> tuple[Ignored, ...]:
    """The decisions in a file.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not TOML of the form above; each entry needs all three keys.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error
    entries = document.get("ignore")
    if set(document) - {"ignore"} or not isinstance(entries, list):
        raise InputError(f"{path} must hold [[ignore]] entries and nothing else")
    return tuple(_read_entry(entry, f"{path}: [[ignore]] number {number}") for number, entry in enumerate(entries, 1))


def apply_ignored(findings: Iterable[Finding], ignored: Sequence[Ignored], today: date) -> list[Finding]:
    """The findings, those that a decision covers today with its reason. An expired decision covers nothing."""
    return [replace(finding, ignored=_reason(finding, ignored, today)) for finding in findings]


def _reason(finding: Finding, ignored: Sequence[Ignored], today: date) -> str:
    known = {finding.id, *finding.aliases}
    return next((each.reason for each in ignored if each.id in known and today <= each.until), "")


def _read_entry(entry: object, where: str) -> Ignored:
    if not isinstance(entry, dict) or set(entry) != _KEYS:
        found = ", ".join(sorted(entry)) if isinstance(entry, dict) else repr(entry)
        raise InputError(f"{where} needs exactly id, reason and until (found: {found})")
    name, reason, until = entry["id"], entry["reason"], entry["until"]
    if not isinstance(name, str) or not name or not isinstance(reason, str) or not reason.strip():
        raise InputError(f"{where}: id and reason must be texts that say something")
    if not isinstance(until, date) or isinstance(until, datetime):
        raise InputError(f"{where}: until must be a date as 2026-12-31, without quotes")
    return Ignored(name, reason.strip(), until)
