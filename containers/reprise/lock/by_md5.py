"""Fetch a file that a lock knows by md5 alone, and say what its sha256 is."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import requests

from reprise.lock.pip_client import pip_configuration
from reprise.lock.session import TIMEOUT, open_session
from reprise.store import Store
from reprise_trainer.errors import InputError, UnavailableError

_CHUNK = 1 << 17


def fetch_by_md5(manager: str, url: str, md5: str, store: Store | None = None) -> tuple[str, int]:
    """The sha256 and the bytes of the file at `url`, whose md5 must be `md5`; `store` keeps it when there is one.

    Raises:
        InputError: the file has another md5.
        UnavailableError: it can't be had.
    """
    sha256, found = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    folder = store.root / "partial" if store else None
    with tempfile.TemporaryDirectory(prefix="md5-", dir=folder) as aside:
        path = Path(aside) / "file"
        try:
            with (
                _session(manager) as session,
                path.open("wb") as file,
                session.get(url, stream=True, timeout=TIMEOUT) as answer,
            ):
                answer.raise_for_status()
                for chunk in answer.raw.stream(_CHUNK, decode_content=False):
                    file.write(chunk)
                    sha256.update(chunk)
                    found.update(chunk)
        except requests.RequestException as error:
            raise UnavailableError(f"{url}, which has no sha256, cannot be fetched: {error}") from error
        if found.hexdigest() != md5:
            raise InputError(f"{url}: expected md5 {md5}, received {found.hexdigest()}")
        size = path.stat().st_size
        if store:
            store.add_file(path, f"sha256:{sha256.hexdigest()}")
    return sha256.hexdigest(), size


def _session(manager: str) -> requests.Session:
    return pip_configuration().session() if manager == "pip" else open_session()
