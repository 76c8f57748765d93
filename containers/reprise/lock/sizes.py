"""Bytes of each artifact's file, which the plan of layers needs and conda-lock's schema has no place for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import requests

from reprise.lock.model import Artifact
from reprise.lock.pip_client import PipConfiguration, pip_configuration
from reprise.lock.session import TIMEOUT, local_path, open_session
from reprise.store import Store
from reprise_trainer.errors import UnavailableError


def file_sizes(artifacts: Sequence[Artifact], urls: Mapping[str, str], store: Store | None = None) -> dict[str, int]:
    """Bytes by package URL: as the lock knows it, else as the store has it, else as a server tells.

    Args:
        urls: where a wheel was seen, by package URL; an address that does not answer, or an empty one, is followed by
            the find-links and indexes that this machine's pip knows.

    Raises:
        UnavailableError: nobody tells.
    """
    known = {each.purl: each.size or _stored(store, each) for each in artifacts}
    asked = [each for each in artifacts if not known[each.purl]]
    packages, wheels = [e for e in asked if e.kind == "conda"], [e for e in asked if e.kind != "conda"]
    if packages:
        with open_session() as session:
            known |= {each.purl: _size(session, each.location) for each in packages}
    if wheels:
        pip = pip_configuration()
        with pip.session() as session:
            known |= {each.purl: _wheel_size(session, each, urls.get(each.purl, ""), pip) for each in wheels}
    return known


def _stored(store: Store | None, artifact: Artifact) -> int:
    return store.path(artifact.digest).stat().st_size if store and store.has(artifact.digest) else 0


def _wheel_size(session: requests.Session, artifact: Artifact, url: str, pip: PipConfiguration) -> int:
    try:
        return _size(session, url)
    except UnavailableError:
        for place in pip.find_links:
            folder = local_path(place)
            if folder and (folder / artifact.file_name).is_file():
                return (folder / artifact.file_name).stat().st_size
        return _size(session, _indexed(session, artifact, pip) or url or artifact.file_name)


def _indexed(session: requests.Session, artifact: Artifact, pip: PipConfiguration) -> str:
    """The address of a wheel on the first of pip's indexes that has it, else empty."""
    from pypi_simple import NoSuchProjectError, PyPISimple

    for index in pip.indexes:
        try:
            page = PyPISimple(index, session=session).get_project_page(artifact.name)
        except (NoSuchProjectError, requests.RequestException):
            continue
        for package in page.packages:
            if package.filename == artifact.file_name:
                return package.url
    return ""


def _size(session: requests.Session, url: str) -> int:
    try:
        answer = session.head(url, allow_redirects=True, timeout=TIMEOUT)
        answer.raise_for_status()
        return int(answer.headers["Content-Length"])
    except (requests.RequestException, KeyError, ValueError) as error:
        raise UnavailableError(f"{url} does not tell its size: {error}") from error
