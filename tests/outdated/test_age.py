"""A report of ages: oldest first, and readable where nothing is known."""

from __future__ import annotations

from datetime import UTC, datetime

from reprise.lock.model import Artifact
from reprise.outdated.age import HEADER, Age, AgeReport, oldest_first


def age(name: str, year: int | None, newest: str = "1.0") -> Age:
    released = datetime(year, 1, 1, tzinfo=UTC) if year else None
    return Age(Artifact(f"pkg:pypi/{name}@1.0?file_name=x.whl", "a"), released, newest)


def test_the_oldest_comes_first_and_the_unknown_last() -> None:
    ages = [age("unknown", None, ""), age("young", 2025), age("old", 2020, "2.0")]
    assert [each.artifact.name for each in oldest_first(ages)] == ["old", "young", "unknown"]


def test_the_table_and_the_document_say_the_same() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    report = AgeReport("small", tuple(oldest_first([age("old", 2020, "2.0"), age("x", None, "")])), ("a place",), now)
    assert report.table() == [
        ("2192 d", "old", "1.0", "2020-01-01", "2.0", "?"),
        ("?", "x", "1.0", "?", "?", ""),
    ]
    assert all(len(row) == len(HEADER) for row in report.table())
    document = report.as_json()
    assert [(each["name"], each["days"], each["outdated"]) for each in document["packages"]] == [
        ("old", 2192, True),
        ("x", None, False),
    ]
    assert document["silent"] == ["a place"]
