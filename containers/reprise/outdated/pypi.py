"""Ages of wheels, by the indexes and find-links that this machine's pip is configured with (PEP 503, 691, 700)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import requests
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from reprise.artifacts.sources import public
from reprise.lock.model import Artifact
from reprise.lock.pip_client import pip_configuration
from reprise.lock.session import TIMEOUT, local_path
from reprise.lock.target import Target
from reprise.outdated.age import Age
from reprise_trainer.errors import UnavailableError

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Wheel:
    """A wheel that a place offers; `uploaded` only where it tells (PEP 700)."""

    file_name: str
    name: str
    version: Version
    tags: frozenset[Tag]
    uploaded: datetime | None
    yanked: bool


def pypi_ages(artifacts: Sequence[Artifact], find_links: Sequence[str], target: Target) -> tuple[list[Age], list[str]]:
    """The ages of locked wheels, and the places that did not answer.

    Args:
        artifacts: wheels.
        find_links: addresses that are asked after those that pip is configured with.
        target: a newer version counts where it has a wheel for it.
    """
    if not artifacts:
        return [], []
    configuration = pip_configuration()
    with configuration.session() as session, ThreadPoolExecutor(_AT_ONCE) as pool:
        links = dict.fromkeys((*configuration.find_links, *find_links))
        pages = {(index, each.name): _page(index, each.name) for index in configuration.indexes for each in artifacts}
        asked = [(address, pool.submit(_offered, address, session)) for address in [*links, *pages.values()]]
    offered: list[_Wheel] = []
    silent: list[str] = []
    for _, answer in asked:
        try:
            offered += answer.result()
        except UnavailableError as error:
            silent.append(error.message)
    by_name: dict[str, list[_Wheel]] = defaultdict(list)
    for wheel in offered:
        by_name[wheel.name].append(wheel)
    tags = target.tags
    return [_age(each, by_name[canonicalize_name(each.name)], tags) for each in artifacts], _shortened(silent)


def _page(index: str, name: str) -> str:
    return f"{index.rstrip('/')}/{quote(name)}/"


def _shortened(silent: Sequence[str]) -> list[str]:
    """At most three silent places by name: an index that is down is silent for every package."""
    rest = len(silent) - 3
    return [*silent[:3], *([f"and {rest} more pages"] if rest > 0 else [])]


def _offered(address: str, session: requests.Session) -> list[_Wheel]:
    """The wheels at a folder, a find-links page or an index's project page; none where there is no such page.

    Raises:
        UnavailableError: the place does not answer, or not with a page of files.
    """
    from pypi_simple import ACCEPT_JSON_PREFERRED, ProjectPage, UnsupportedContentTypeError, UnsupportedRepoVersionError

    path = local_path(address)
    if path is not None:
        if path.is_dir() and not (path / "index.html").exists():
            return list(_parsed((each.name, None, False) for each in sorted(path.iterdir())))
        address = Path(path).absolute().as_uri() + ("/" if path.is_dir() else "")
    try:
        answer = session.get(address, headers={"Accept": ACCEPT_JSON_PREFERRED}, timeout=TIMEOUT)
        if answer.status_code in (403, 404, 410):
            return []
        answer.raise_for_status()
        page = ProjectPage.from_response(answer, address.rstrip("/").rpartition("/")[2] or "any")
    except (requests.RequestException, ValueError, UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
        raise UnavailableError(f"{public(address)}: {type(error).__name__}") from error
    files = ((each.filename, each.upload_time, each.is_yanked) for each in page.packages)
    return list(_parsed(files))


def _parsed(files: Iterable[tuple[str, datetime | None, bool]]) -> Iterator[_Wheel]:
    for file_name, uploaded, yanked in files:
        try:
            name, version, _, tags = parse_wheel_filename(file_name)
        except (InvalidWheelFilename, InvalidVersion):
            continue  # a source distribution, or a name from before the rules
        aware = uploaded.replace(tzinfo=uploaded.tzinfo or UTC) if uploaded else None
        yield _Wheel(file_name, name, version, tags, aware, yanked)


def _age(artifact: Artifact, own: Sequence[_Wheel], tags: frozenset[Tag]) -> Age:
    locked = Version(artifact.version)
    released = next((each.uploaded for each in own if each.file_name == artifact.file_name and each.uploaded), None)
    fitting = [
        each
        for each in own
        if each.tags & tags
        and not each.yanked
        and (locked.is_prerelease or not each.version.is_prerelease)
        and Version(each.version.public) > Version(locked.public)  # `+cpu` is a build of the same release
    ]
    if not fitting:
        return Age(artifact, released, artifact.version if own else "")
    newest = max(fitting, key=lambda each: each.version)
    times = [each.uploaded for each in fitting if each.version == newest.version and each.uploaded]
    return Age(artifact, released, str(newest.version), min(times, default=None))
