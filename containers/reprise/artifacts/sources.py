"""Where an artifact's bytes may be: small functions from an artifact to candidate addresses.

Nothing is asked before the first artifact is missing, so a warm build starts neither pip nor apt and needs no network.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import requests

from reprise.artifacts.patience import NoAnswerError, persistently, refuse_bad_status
from reprise.lock.apt_client import apt_session, configured_mirrors
from reprise.lock.model import Artifact, Kind, Sources
from reprise.lock.pip_client import PipConfiguration, pip_configuration
from reprise.lock.session import TIMEOUT, local_path, open_session

_Result = TypeVar("_Result")
_WHEELS: frozenset[Kind] = frozenset(["wheel"])
_DEBS: frozenset[Kind] = frozenset(["deb"])
_CONDA: frozenset[Kind] = frozenset(["conda"])
EVERY_KIND: frozenset[Kind] = frozenset(["wheel", "deb", "conda", "data"])


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address that may have an artifact's bytes, and the session to ask it with."""

    url: str
    session: requests.Session


@dataclass(frozen=True, slots=True)
class Source:
    """A place that may have artifacts of some `kinds`. `find` yields candidates lazily.

    `find` raises NoAnswerError, after its last candidate, when part of the place did not answer.
    """

    name: str
    kinds: frozenset[Kind]
    find: Callable[[Artifact], Iterator[Candidate]]


def machine_and_environment_sources(sources: Sources) -> list[Source]:
    """All places but the store, in the order of asking: this machine's pip and apt, `sources`, the channel."""
    pip = _once(_Pip)
    apt = _once(apt_session)
    mirrors = _once_each(configured_mirrors)
    channels = _once(open_session)
    return [
        Source("pip's indexes and find-links", _WHEELS, lambda artifact: pip().find(artifact)),
        Source("apt's sources", _DEBS, lambda artifact: _apt(artifact, mirrors, apt)),
        *(_find_links_source(each, lambda: pip().session) for each in sources.find_links),
        *([_mirror_source(sources.debian_mirror, apt)] if sources.debian_mirror else []),
        *(_directory_source(each, lambda: pip().session) for each in sources.directories),
        Source("the channel that the lock names", _CONDA, lambda artifact: _channel(artifact, channels())),
    ]


class _Pip:
    """The machine's pip, as it is configured."""

    def __init__(self) -> None:
        self._configuration: PipConfiguration = pip_configuration()
        self.session = self._configuration.session()
        self._pages = _once_each(lambda address: list(_links(address, self.session)))

    def find(self, artifact: Artifact) -> Iterator[Candidate]:
        folders = [f"{index.rstrip('/')}/{quote(artifact.name)}/" for index in self._configuration.indexes]
        # find-links first: they are near, and often the only place that has a build of one's own
        silent: list[str] = []
        for address in (*self._configuration.find_links, *folders):
            try:
                yield from _matching(artifact, self._pages(address), self.session)
            except NoAnswerError as error:
                silent.append(str(error))
        if silent:
            raise NoAnswerError("; ".join(silent))


def _find_links_source(address: str, session: Callable[[], requests.Session]) -> Source:
    pages = _once_each(lambda page: list(_links(page, session())))

    def find(artifact: Artifact) -> Iterator[Candidate]:
        yield from _matching(artifact, pages(address), session())

    return Source(f"find_links {public(address)}", _WHEELS, find)


def _mirror_source(address: str, session: Callable[[], requests.Session]) -> Source:
    def find(artifact: Artifact) -> Iterator[Candidate]:
        if artifact.location:
            yield Candidate(_in_pool(address, artifact), session())

    return Source(f"debian_mirror {public(address)}", _DEBS, find)


def _directory_source(folder: str, session: Callable[[], requests.Session]) -> Source:
    def find(artifact: Artifact) -> Iterator[Candidate]:
        path = Path(folder).expanduser().absolute() / artifact.file_name
        if artifact.file_name and path.is_file():
            yield Candidate(path.as_uri(), session())

    return Source(f"directory {folder}", EVERY_KIND, find)


def _apt(
    artifact: Artifact, mirrors: Callable[[str], list[str]], session: Callable[[], requests.Session]
) -> Iterator[Candidate]:
    if artifact.location:
        for mirror in mirrors(artifact.qualifier("distro")):
            yield Candidate(_in_pool(mirror, artifact), session())


def _channel(artifact: Artifact, session: requests.Session) -> Iterator[Candidate]:
    """The address that the lock keeps, which conda's tools need."""
    if "://" in artifact.location:
        yield Candidate(artifact.location.partition("#")[0], session)


def _in_pool(mirror: str, artifact: Artifact) -> str:
    base = mirror if "://" in mirror else Path(mirror).expanduser().absolute().as_uri()
    return f"{base.rstrip('/')}/{quote(artifact.location, safe='/+~')}"


def _matching(artifact: Artifact, links: list[str], session: requests.Session) -> Iterator[Candidate]:
    for link in links:
        if unquote(urlsplit(link).path.rpartition("/")[2]) == artifact.file_name:
            yield Candidate(link.partition("#")[0], session)


def _links(address: str, session: requests.Session) -> Iterator[str]:
    """The files that a find-links place or an index's project page has: a folder's, or an HTML or JSON page's links.

    A folder with an index.html is a page of an index that lies on disk (PEP 503); a page that is not there has none.
    """
    from pypi_simple import ACCEPT_ANY, ProjectPage, UnsupportedContentTypeError, UnsupportedRepoVersionError

    path = local_path(address)
    if path is not None:
        path = path.absolute()
        if path.is_dir() and not (path / "index.html").exists():
            yield from sorted(each.as_uri() for each in path.iterdir() if each.is_file())
            return
        address = path.as_uri() + ("/" if path.is_dir() else "")
    answer = _page(address, session, ACCEPT_ANY)
    if answer is None:
        return
    project = unquote(urlsplit(address).path.rstrip("/").rpartition("/")[2]) or "any"
    try:
        yield from (package.url for package in ProjectPage.from_response(answer, project).packages)
    except (ValueError, UnsupportedContentTypeError, UnsupportedRepoVersionError) as error:
        raise NoAnswerError(f"{public(address)} is not a page of files: {error}") from error


def _page(address: str, session: requests.Session, accept: str) -> requests.Response | None:
    """The page at `address`, or None where there is none."""
    answers: list[requests.Response | None] = []

    def ask() -> None:
        answer = session.get(address, headers={"Accept": accept}, timeout=TIMEOUT)
        if answer.status_code in (403, 404, 410):
            answers.append(None)
            return
        refuse_bad_status(answer)
        answers.append(answer)

    try:
        persistently(ask, lambda: 0, time.sleep)
    except NoAnswerError as error:
        raise NoAnswerError(f"{public(address)}: {error}") from error
    return answers[-1]


def public(url: str) -> str:
    """The address without user name and password, for messages."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _once(make: Callable[[], _Result]) -> Callable[[], _Result]:
    """`make`'s result, made on the first call by whichever thread comes first."""
    asked = _once_each(lambda _: make())
    return lambda: asked("")


def _once_each(make: Callable[[str], _Result]) -> Callable[[str], _Result]:
    """`make`, with each argument's result kept, and so is a NoAnswerError: a silent place is asked once a fetch."""
    lock = threading.Lock()
    locks: dict[str, threading.Lock] = {}
    results: dict[str, _Result | NoAnswerError] = {}

    def get(key: str) -> _Result:
        with lock:
            own = locks.setdefault(key, threading.Lock())
        with own:
            if key not in results:
                try:
                    results[key] = make(key)
                except NoAnswerError as error:
                    results[key] = error
        result = results[key]
        if isinstance(result, NoAnswerError):
            raise NoAnswerError(str(result))
        return result

    return get
