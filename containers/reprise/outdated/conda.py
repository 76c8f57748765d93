"""Ages of conda packages, by the repodata of the channel that each is locked from."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import requests

from reprise.artifacts.sources import public
from reprise.lock.model import Artifact
from reprise.lock.session import TIMEOUT, open_session
from reprise.outdated.age import Age
from reprise.vulnerabilities.versions import conda_key
from reprise_trainer.errors import UnavailableError

_MILLISECONDS = 253_402_300_799
"""Older records give seconds, newer ones milliseconds: more than this many seconds would be beyond the year 9999."""


def conda_ages(artifacts: Sequence[Artifact]) -> tuple[list[Age], list[str]]:
    """The ages of locked conda packages, and the channels that did not answer."""
    folders: dict[str, list[Artifact]] = defaultdict(list)
    for artifact in artifacts:
        folders[artifact.location.rpartition("/")[0]].append(artifact)
    ages: list[Age] = []
    silent: list[str] = []
    with open_session(places=folders) as session:
        for folder, inside in sorted(folders.items()):
            try:
                records = _records(folder, session)
            except UnavailableError as error:
                silent.append(error.message)
                records = {}
            ages += (_age(each, records) for each in inside)
    return ages, silent


def _records(folder: str, session: requests.Session) -> dict[str, dict[str, Any]]:
    """The records of a channel's subdir by file name (CEP 16's predecessor, repodata.json), compressed where it is."""
    try:
        for name in ("repodata.json.zst", "repodata.json"):
            answer = session.get(f"{folder}/{name}", timeout=TIMEOUT)
            if answer.status_code == 404:
                continue
            answer.raise_for_status()
            document = json.loads(_unpacked(answer.content) if name.endswith(".zst") else answer.content)
            return {**document.get("packages", {}), **document.get("packages.conda", {})}
    except (requests.RequestException, ValueError, AttributeError, TypeError) as error:
        raise UnavailableError(f"{public(folder)}: {type(error).__name__}") from error
    raise UnavailableError(f"{public(folder)}: has no repodata.json")


def _unpacked(data: bytes) -> bytes:
    import zstandard

    try:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _age(artifact: Artifact, records: Mapping[str, Mapping[str, Any]]) -> Age:
    released = _time(records.get(artifact.location.rpartition("/")[2], {}))
    own = [each for each in records.values() if each.get("name") == artifact.name and _placed(each.get("version"))]
    if not own:
        return Age(artifact, released)
    newest = max((str(each["version"]) for each in own), key=conda_key)
    if not _placed(artifact.version) or conda_key(newest) <= conda_key(artifact.version):
        return Age(artifact, released, artifact.version)
    return Age(artifact, released, newest, _first(own, newest))


def _first(records: Iterable[Mapping[str, Any]], version: str) -> datetime | None:
    times = [time for each in records if each["version"] == version and (time := _time(each))]
    return min(times, default=None)


def _placed(version: object) -> bool:
    try:
        conda_key(str(version))
    except ValueError:
        return False
    return isinstance(version, str)


def _time(record: Mapping[str, Any]) -> datetime | None:
    stamp = record.get("timestamp")
    if not isinstance(stamp, int) or stamp <= 0:
        return None
    return datetime.fromtimestamp(stamp / 1000 if stamp > _MILLISECONDS else stamp, UTC)
