"""Whether a registry answers, lets us in, and has what a reference names; and what its clock says."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from reprise.artifacts.patience import NoAnswerError
from reprise.doctor.finding import Finding
from reprise.lock.session import TIMEOUT
from reprise.registry.reference import Reference
from reprise.registry.repository import open_repository
from reprise_trainer.errors import RepriseError

_LOOK = "Look for another spelling, tag or registry."


def registry(reference: Reference, certificates: Path | None = None) -> tuple[Finding, float | None]:
    """Ask once for the manifest that a reference names, as a pull would.

    Returns:
        The finding; and the seconds that the registry's clock is ahead of this machine's, where it says the time.
    """
    name = f"registry {reference.host}"
    try:
        repository = open_repository(reference, certificates)
        place = repository.registry
        # Once and without patience: what is looked for is whether it answers now
        answer = place.session.get(f"{place.address}/v2/", timeout=TIMEOUT, allow_redirects=False)
    except RepriseError as error:
        return Finding(name, "problem", error.message, error.hint or _LOOK), None
    except (NoAnswerError, requests.RequestException) as error:
        todo = f"Check its name, proxies and certificates (--ca); log in with `docker login {reference.host}`."
        return Finding(name, "problem", f"gives no answer: {error}", todo), None
    ahead = _ahead(answer.headers.get("Date", ""))
    try:
        digest = repository.has_manifest(reference.name)
    except RepriseError as error:
        return Finding(name, "problem", error.message, error.hint or _LOOK), ahead
    if not digest:
        return Finding(name, "problem", f"answers, but does not have {reference}", _LOOK), ahead
    return Finding(name, "ok", f"{reference} is {digest}"), ahead


def _ahead(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
