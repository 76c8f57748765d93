"""A decision to ignore has a reason and an end."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from tests.vulnerabilities.conftest import WHEEL

from reprise.vulnerabilities.ignore import apply_ignored, read_ignored
from reprise.vulnerabilities.match import Finding
from reprise_trainer.errors import InputError, NotFoundError

FINDING = Finding("CVE-2026-0001", ("TEST-2026-1",), WHEEL, "", "high")
ENTRY = '[[ignore]]\nid = "TEST-2026-1"\nreason = "never called"\nuntil = 2026-06-30\n'


@pytest.mark.parametrize(("today", "reason"), [(date(2026, 6, 30), "never called"), (date(2026, 7, 1), "")])
def test_a_decision_holds_until_its_last_day_under_any_alias(tmp_path: Path, today: date, reason: str) -> None:
    (tmp_path / "ignore.toml").write_text(ENTRY)
    decisions = read_ignored(tmp_path / "ignore.toml")
    assert [each.ignored for each in apply_ignored([FINDING], decisions, today)] == [reason]


def test_a_decision_about_another_id_covers_nothing(tmp_path: Path) -> None:
    (tmp_path / "ignore.toml").write_text(ENTRY.replace("TEST-2026-1", "TEST-2026-2"))
    decisions = read_ignored(tmp_path / "ignore.toml")
    assert [each.ignored for each in apply_ignored([FINDING], decisions, date(2026, 1, 1))] == [""]


@pytest.mark.parametrize(
    "text",
    [
        "ignore = 1",
        "[[ignored]]",
        "not toml",
        ENTRY.replace("until = 2026-06-30", ""),
        ENTRY.replace("never called", " "),
        ENTRY.replace("2026-06-30", '"2026-06-30"'),
        ENTRY.replace("2026-06-30", "2026-06-30T00:00:00"),
        ENTRY + "extra = 1\n",
    ],
)
def test_a_decision_without_reason_or_end_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ignore.toml").write_text(text)
    with pytest.raises(InputError, match=r"ignore\.toml"):
        read_ignored(tmp_path / "ignore.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.toml"):
        read_ignored(tmp_path / "none.toml")
