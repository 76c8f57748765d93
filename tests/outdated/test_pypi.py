"""Ages of wheels, as an index tells them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from loopback import Site
from tests.outdated.conftest import publish

from reprise.lock.model import Artifact
from reprise.lock.target import Target
from reprise.outdated.pypi import pypi_ages

TARGET = Target("3.11", (2, 36))


def wheel(version: str) -> Artifact:
    escaped = version.replace("+", "%2B")
    return Artifact(f"pkg:pypi/small@{escaped}?file_name=small-{escaped}-py3-none-any.whl", "a" * 64)


def file(version: str, day: str, tag: str = "py3-none-any", **more: Any) -> dict[str, Any]:
    return {"filename": f"small-{version}-{tag}.whl", "upload-time": f"{day}T12:00:00Z", **more}


def test_release_and_newest_come_from_the_index(index: Site) -> None:
    publish(index, "small", file("1.0", "2024-01-01"), file("1.2", "2025-02-02"), file("1.10", "2025-03-03"))
    (age,), silent = pypi_ages([wheel("1.0")], (), TARGET)
    assert silent == [] and age.outdated and age.newest == "1.10"
    assert age.released == datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert age.newest_released == datetime(2025, 3, 3, 12, tzinfo=UTC)
    assert age.days(datetime(2024, 1, 11, 11, tzinfo=UTC)) == 9


@pytest.mark.parametrize(
    "newer",
    [
        file("2.0", "2025-01-01", yanked=True),
        file("2.0rc1", "2025-01-01"),
        file("2.0", "2025-01-01", tag="cp313-cp313-win_amd64"),
        file("1.0+other", "2025-01-01"),
        {"filename": "small-2.0.tar.gz", "upload-time": "2025-01-01T00:00:00Z"},
    ],
    ids=["yanked", "prerelease", "another platform", "another build", "source"],
)
def test_what_the_lock_could_not_take_is_no_newer_version(index: Site, newer: dict[str, Any]) -> None:
    publish(index, "small", file("1.0", "2024-01-01"), newer)
    (age,), _ = pypi_ages([wheel("1.0")], (), TARGET)
    assert not age.outdated and age.newest == "1.0"


def test_a_local_build_is_measured_by_its_release(index: Site) -> None:
    publish(index, "small", file("1.0", "2024-01-01"), file("1.1", "2024-06-01"))
    (age,), _ = pypi_ages([wheel("1.0+cpu")], (), TARGET)
    assert age.newest == "1.1" and age.released is None


def test_a_package_that_nobody_knows_has_no_age_and_is_no_silence(index: Site) -> None:
    (age,), silent = pypi_ages([wheel("1.0")], (), TARGET)
    assert (age.released, age.newest, silent) == (None, "", [])


def test_a_folder_of_wheels_tells_versions_but_no_days(index: Site, tmp_path: Path) -> None:
    for version in ("1.0", "3.0"):
        (tmp_path / f"small-{version}-py3-none-any.whl").touch()
    (age,), silent = pypi_ages([wheel("1.0")], (str(tmp_path),), TARGET)
    assert (age.newest, age.newest_released, silent) == ("3.0", None, [])


def test_a_local_index_without_the_project_is_no_silence(
    index: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    assert pypi_ages([wheel("1.0")], (), TARGET)[1] == []


def test_a_place_that_fails_is_said_and_the_rest_is_shown(index: Site) -> None:
    publish(index, "small", file("1.0", "2024-01-01"), file("2.0", "2025-01-01"))
    index.statuses["/links/"] = [500]
    (age,), silent = pypi_ages([wheel("1.0")], (index.url("/links/"), "http://127.0.0.1:9/"), TARGET)
    assert age.newest == "2.0"
    assert len(silent) == 2 and "/links/" in silent[0] and "127.0.0.1:9" in silent[1]


def test_a_place_that_answers_with_something_else_is_said(index: Site) -> None:
    index.files["/simple/small/"] = b"{"
    index.types["/simple/small/"] = "application/vnd.pypi.simple.v1+json"
    assert len(pypi_ages([wheel("1.0")], (), TARGET)[1]) == 1


def test_an_index_that_is_down_is_named_thrice_at_most(index: Site) -> None:
    artifacts = [
        Artifact(f"pkg:pypi/p{number}@1.0?file_name=p{number}-1.0-py3-none-any.whl", "a") for number in range(9)
    ]
    for each in artifacts:
        index.statuses[f"/simple/{each.name}/"] = [500]
    _, silent = pypi_ages(artifacts, (), TARGET)
    assert len(silent) == 4 and silent[-1] == "and 6 more pages"
