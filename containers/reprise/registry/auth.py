"""How a session proves to a registry who it is: basic, or a bearer token that the registry's challenge asks for.

Source: RFC 9110, 11 (challenges); distribution's token authentication specification. A credential or token is sent to
the registry's own origin, and to the token server that the registry itself names over a safe connection: never to a
host that an answer redirects to.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from reprise.artifacts.patience import NoAnswerError, refuse_busy
from reprise.lock.session import TIMEOUT
from reprise.registry.credentials import Credentials
from reprise.registry.reference import is_loopback
from reprise_trainer.errors import UnavailableError

_PART = re.compile(r'([\w-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?')
"""A scheme, or a parameter of the scheme before it."""
_CLIENT = "reprise"
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(eq=False)
class RegistryAuth(AuthBase):
    """Answers the challenges of the registry `host`, which is at `origin` (scheme and host), and of nobody else.

    `credentials` is called once, at the first challenge; `more_scopes` are asked for with each token, beside what the
    challenge names (a mount needs the right to read another repository).
    """

    host: str
    origin: str
    credentials: Callable[[], Credentials | None]
    tokens: requests.Session
    more_scopes: tuple[str, ...] = ()
    _header: str = ""
    _known: list[Credentials | None] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if origin_of(request.url or "") == self.origin:
            if self._header:
                request.headers["Authorization"] = self._header
            request.hooks["response"].append(self._answer)
        return request

    def _answer(self, response: requests.Response, **options: Any) -> requests.Response:
        """The response, or that to the same request with what its challenge asks for."""
        for _ in range(2):  # another thread's token may be for something else
            request = response.request
            if response.status_code != 401 or origin_of(request.url or "") != self.origin:
                return response
            refused = request.headers.get("Authorization")
            header = self._authorize(response.headers.get("WWW-Authenticate", ""), refused)
            if header is None or header == refused:
                return response
            response.close()
            again = request.copy()
            again.headers["Authorization"] = header
            following: requests.Response = response.connection.send(again, **options)
            following.history.append(response)
            following.request = again
            response = following
        return response

    def _authorize(self, challenge: str, refused: Any) -> str | None:
        with self._lock:
            if self._header and self._header != refused:
                return self._header  # another thread was here first
            challenges = _parse(challenge)
            if not self._known:
                self._known.append(self.credentials())
            known = self._known[0]
            if "bearer" in challenges and (token := self._token(challenges["bearer"], known)):
                self._header = f"Bearer {token}"
            elif "basic" in challenges and known and known.username:
                self._header = _basic(known)
            else:
                return None
            return self._header

    def _token(self, parameters: dict[str, str], known: Credentials | None) -> str:
        realm = parameters.get("realm", "")
        parts = urlsplit(realm)
        if not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.netloc))):
            raise NoAnswerError(f"its token server {realm!r} is not asked over a safe connection")
        scopes = [*parameters.get("scope", "").split(), *self.more_scopes]
        asked = {"service": parameters.get("service", ""), "scope": scopes}
        if known and known.identity_token:
            form = {**asked, "scope": " ".join(scopes), "client_id": _CLIENT, "grant_type": "refresh_token"}
            form["refresh_token"] = known.identity_token
            answer = self.tokens.post(realm, data=form, timeout=TIMEOUT, allow_redirects=False)
        else:
            basic = HTTPBasicAuth(known.username.encode(), known.password.encode()) if known else _no_auth
            answer = self.tokens.get(realm, params=asked, auth=basic, timeout=TIMEOUT, allow_redirects=False)
        refuse_busy(answer)
        if answer.status_code in (401, 403):
            raise self._refused(realm, known, answer.status_code)
        if answer.status_code != 200:
            raise NoAnswerError(f"its token server {realm} answers with HTTP status {answer.status_code}")
        try:
            document = answer.json()
            return str(document.get("token") or document.get("access_token") or "")
        except (ValueError, AttributeError) as error:
            raise NoAnswerError(f"its token server {realm} gives no token") from error

    def _refused(self, realm: str, known: Credentials | None, status: int) -> UnavailableError:
        what = f"refuses the credentials of {known.username or 'an identity token'}" if known else "wants credentials"
        return UnavailableError(
            f"the registry {self.host} denies access: its token server {realm} {what} (HTTP status {status})",
            hint=f"Log in with `docker login {self.host}` or `podman login {self.host}`; their credentials are used.",
        )


def origin_of(url: str) -> str:
    """Scheme, host and port of an address; a port that the scheme has anyway is left out."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2].lower()
    return f"{parts.scheme}://{place.removesuffix(_DEFAULT_PORTS.get(parts.scheme, ''))}"


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _basic(known: Credentials) -> str:
    request = requests.Request("GET", "http://localhost", auth=(known.username.encode(), known.password.encode()))
    return str(request.prepare().headers["Authorization"])


def _parse(header: str) -> dict[str, dict[str, str]]:
    """The parameters of each challenge in a WWW-Authenticate header, by its scheme in lower case."""
    challenges: dict[str, dict[str, str]] = {}
    parameters: dict[str, str] = {}
    for part in _PART.finditer(header):
        name, quoted, plain = part[1].lower(), part[2], part[3]
        if quoted is None and plain is None:
            parameters = challenges.setdefault(name, {})
        else:
            parameters[name] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    return challenges
