"""Ages of conda packages, by the repodata of their channel."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from reprise.lock.conda_address import conda_purl
from reprise.lock.model import Artifact
from reprise.outdated.conda import conda_ages

REPODATA = {
    "packages": {"small-1.0-0.tar.bz2": {"name": "small", "version": "1.0", "timestamp": 1_600_000_000}},
    "packages.conda": {
        "small-1.0-1.conda": {"name": "small", "version": "1.0", "timestamp": 1_700_000_000_000},
        "small-1.10-0.conda": {"name": "small", "version": "1.10", "timestamp": 1_710_000_000_000},
        "small-1.10-1.conda": {"name": "small", "version": "1.10", "timestamp": 1_720_000_000_000},
        "small-1.9-0.conda": {"name": "small", "version": "1.9"},
        "smaller-3.0-0.conda": {"name": "smaller", "version": "3.0"},
    },
}


def channel(folder: Path, *, packed: bool = True) -> str:
    """A channel's subdir on disk; its address."""
    subdir = folder / "channel" / "linux-64"
    subdir.mkdir(parents=True)
    data = json.dumps(REPODATA).encode()
    name = "repodata.json.zst" if packed else "repodata.json"
    (subdir / name).write_bytes(zstandard.compress(data) if packed else data)
    return subdir.as_uri()


def locked(address: str, file_name: str) -> Artifact:
    return Artifact(conda_purl(f"{address}/{file_name}"), "a" * 64, location=f"{address}/{file_name}")


@pytest.mark.parametrize("packed", [True, False])
def test_release_and_newest_come_from_the_channel(tmp_path: Path, packed: bool) -> None:
    address = channel(tmp_path, packed=packed)
    (age,), silent = conda_ages([locked(address, "small-1.0-1.conda")])
    assert silent == [] and age.newest == "1.10"
    assert age.released == datetime.fromtimestamp(1_700_000_000, UTC)
    assert age.newest_released == datetime.fromtimestamp(1_710_000_000, UTC)


def test_old_records_count_in_seconds(tmp_path: Path) -> None:
    (age,), _ = conda_ages([locked(channel(tmp_path), "small-1.0-0.tar.bz2")])
    assert age.released == datetime.fromtimestamp(1_600_000_000, UTC)


def test_the_newest_is_not_outdated(tmp_path: Path) -> None:
    (age,), _ = conda_ages([locked(channel(tmp_path), "small-1.10-0.conda")])
    assert not age.outdated and age.newest == "1.10"


@pytest.mark.parametrize("break_it", ["missing", "damaged"])
def test_a_channel_that_does_not_answer_is_said_and_the_rest_is_shown(tmp_path: Path, break_it: str) -> None:
    good, bad = channel(tmp_path / "good"), channel(tmp_path / "bad")
    file = tmp_path / "bad" / "channel" / "linux-64" / "repodata.json.zst"
    file.write_bytes(b"{") if break_it == "damaged" else file.unlink()
    ages, silent = conda_ages([locked(bad, "small-1.0-1.conda"), locked(good, "small-1.0-1.conda")])
    assert {each.newest for each in ages} == {"", "1.10"} and len(silent) == 1 and "bad" in silent[0]
