"""One registry: where it is, whom it trusts, and asking it with patience."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter

from reprise.artifacts.patience import NoAnswerError, persistently, refuse_busy
from reprise.lock.session import TIMEOUT, open_session
from reprise.registry.auth import RegistryAuth, origin_of
from reprise.registry.credentials import find_credentials
from reprise.registry.redirects import RegistrySession
from reprise.registry.reference import is_loopback
from reprise_trainer.errors import InputError, NotFoundError, RepriseError, UnavailableError

_POOL = 16
_SERVED_BY = {"docker.io": "registry-1.docker.io"}
"""Registries whose API has another host than their images' names."""

_ERROR_BYTES = 1 << 16


class RefusedError(InputError):
    """A registry refuses what it was given; `codes` are those of its error document."""

    def __init__(self, message: str, codes: tuple[str, ...]) -> None:
        super().__init__(message)
        self.codes = codes


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry's address (`http://127.0.0.1:5000`) and the session to ask it with."""

    host: str
    address: str
    session: requests.Session
    auth: RegistryAuth

    def ask(
        self, method: str, path: str, expected: Container[int], *, stream: bool = False, **options: Any
    ) -> requests.Response:
        """The answer to one question; a registry that is busy or silent is asked again, as long as it says so.

        Args:
            path: below the registry's address, or a whole address that an answer gave.
            expected: HTTP statuses that are an answer.
            stream: leave the body to the caller (`read_body`); else it is read and, but for its headers, done with.
            options: those of `requests` (`headers`, `data`, `params`).

        Raises:
            NotFoundError: status 404, where that is no answer.
            UnavailableError: it does not answer, or denies access.
            InputError: it refuses what it was given.
        """
        answers: list[requests.Response] = []

        def once() -> None:
            url = urljoin(self.address, path)
            answer = self.session.request(method, url, timeout=TIMEOUT, stream=True, **options)
            refuse_busy(answer)
            answers.append(answer)

        try:
            persistently(once, lambda: 0, time.sleep)
        except NoAnswerError as error:
            raise silent(self.host, error) from error
        answer = answers[-1]
        if answer.status_code not in expected:
            raise refusal(self.host, method, path, answer)
        if not stream:
            read_body(answer, _ERROR_BYTES, f"the registry's answer to {method} {path}")
        return answer

    def is_own(self, url: str) -> bool:
        """Whether an address is the registry itself (and not a storage host that it sends us to)."""
        return origin_of(urljoin(self.address, url)) == origin_of(self.address)


def open_registry(host: str, certificates: Path | None = None, *, repository: str = "") -> Registry:
    """A session with the registry at `host` (`name[:port]`), with this machine's proxies, certificates and credentials.

    Only a registry on this very machine is asked over http, unless certificates are given for it.

    Args:
        certificates: file of certificate authorities to trust for it; by default those in docker's or podman's certs.d.
        repository: the one that is asked for, which may have a login of its own.

    Raises:
        InputError: the certificates can't be read.
    """
    trusted = certificates or _configured_certificates(host)
    if trusted is not None and not trusted.is_file():
        raise InputError(f"the certificate authorities' file {trusted} does not exist")
    plain = is_loopback(host) and trusted is None
    address = f"{'http' if plain else 'https'}://{_SERVED_BY.get(host, host)}"
    session, tokens = _session(trusted), _session(trusted)
    auth = RegistryAuth(host, origin_of(address), lambda: find_credentials(host, repository), tokens)
    session.auth = auth
    return Registry(host, address, session, auth)


def silent(host: str, error: NoAnswerError) -> UnavailableError:
    """The user's view of a registry that gives no answer."""
    return UnavailableError(
        f"the registry {host} gives no answer: {error}",
        hint="What is done is kept: the same command goes on from there.",
    )


def refusal(host: str, method: str, path: str, answer: requests.Response) -> RepriseError:
    """What a registry's error means, with its own words."""
    status, what = answer.status_code, f"{method} {path.partition('?')[0]}"
    errors = _own_errors(answer)
    codes = tuple(code for code, _ in errors)
    said = f"HTTP status {status}{''.join(f'; {code}: {message}'[:200] for code, message in errors)}"
    if status == 404:
        return NotFoundError(f"the registry {host} does not have {path.removeprefix('/v2/')} ({said})")
    if status in (401, 403):
        return UnavailableError(
            f"the registry {host} denies access ({what}: {said})",
            hint=f"Log in with `docker login {host}` or `podman login {host}`; their credentials are used.",
        )
    return RefusedError(f"the registry {host} refuses {what}: {said}", codes)


def read_body(answer: requests.Response, limit: int, what: str) -> bytes:
    """An answer's body, read as it comes in; the connection is free afterwards.

    Raises:
        InputError: it is longer than `limit` bytes; no more than that was read.
        UnavailableError: it broke off.
    """
    body = bytearray()
    try:
        for chunk in answer.iter_content(1 << 16):
            body += chunk
            if len(body) > limit:
                answer.close()
                raise InputError(f"{what} is longer than {limit} bytes, which is more than was promised or allowed")
    except requests.RequestException as error:
        raise UnavailableError(f"{what} broke off after {len(body)} bytes", hint="Run the command again.") from error
    return bytes(body)


def _own_errors(answer: requests.Response) -> list[tuple[str, str]]:
    """Codes and messages of the registry's error document (distribution spec, "Error codes"), where there is one."""
    try:
        errors = json.loads(read_body(answer, _ERROR_BYTES, "the error"))["errors"]
        return [(str(each["code"]), str(each.get("message", ""))) for each in errors[:3]]
    except (RepriseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


class _TrustingAdapter(HTTPAdapter):
    """Trusts `certificates` whatever the environment says, which for `requests` goes before the session."""

    def __init__(self, certificates: Path) -> None:
        self._certificates = str(certificates)
        super().__init__(pool_connections=_POOL, pool_maxsize=_POOL)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        return super().send(request, *args, **{**options, "verify": self._certificates})


def _session(certificates: Path | None) -> requests.Session:
    session = open_session(kind=RegistrySession)
    session.headers["User-Agent"] = "reprise"
    if certificates is not None:
        session.mount("https://", _TrustingAdapter(certificates))
    return session


def _configured_certificates(host: str) -> Path | None:
    """The first `*.crt` that docker or podman would trust for this registry (containers-certs.d(5))."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for folder in (home / "containers", Path("/etc/containers"), Path("/etc/docker")):
        for path in sorted((folder / "certs.d" / host).glob("*.crt")):
            return path
    return None
