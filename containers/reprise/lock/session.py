"""HTTP sessions with the machine's proxies and certificates; they open `file:` addresses too, as pip and apt do."""

from __future__ import annotations

import io
import mimetypes
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from requests.utils import get_auth_from_url, get_netrc_auth
from urllib3 import HTTPResponse

TIMEOUT = (15.0, 60.0)
"""Seconds to connect, and to wait between two bytes."""

_CONNECTIONS = 16


def open_session(
    *,
    proxies: Mapping[str, str] | None = None,
    certificates: str = "",
    places: Iterable[str] = (),
    kind: type[requests.Session] = requests.Session,
) -> requests.Session:
    """A session that asks for bytes as they are (a wheel must not be unpacked on the way).

    Args:
        proxies: {"http": …, "https": …}; the environment's proxies count where one is missing.
        certificates: file of the certificate authorities to trust; empty for the usual ones.
        places: addresses that may hold a user name and password, which then count for all of their host.
        kind: its class, where redirects are to be followed in another way than `requests` does.
    """
    session = kind()
    session.headers["Accept-Encoding"] = "identity"
    session.auth = _Credentials(places)
    session.proxies.update(proxies or {})
    if certificates:
        session.verify = certificates
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS))
    session.mount("file://", _FileAdapter())
    return session


def local_path(address: str) -> Path | None:
    """The path that a `file:` address or a bare path names; None for an address on the network."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return None if parts.scheme in ("http", "https") else Path(address).expanduser()


class _Credentials(AuthBase):
    """User name and password by host, as pip has it: an index's files may be linked without them. Else ~/.netrc."""

    def __init__(self, places: Iterable[str]) -> None:
        self._known = {
            urlsplit(place).netloc.rpartition("@")[2]: get_auth_from_url(place)
            for place in places
            if "@" in urlsplit(place).netloc
        }

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = request.url or ""
        pair = self._known.get(urlsplit(url).netloc.rpartition("@")[2]) or get_netrc_auth(url)
        return HTTPBasicAuth(*pair)(request) if pair else request


class _FileAdapter(BaseAdapter):
    """Answers GET and HEAD of `file:` addresses: 200 with the file (a folder's index.html), or 404."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        path = Path(unquote(urlsplit(request.url or "").path))
        if path.is_dir():
            path /= "index.html"
        response = requests.Response()
        response.request, response.url = request, request.url or ""
        try:
            file = path.open("rb")
        except OSError:
            response.status_code, response.reason = 404, "Not Found"
            response.raw = HTTPResponse(body=io.BytesIO(), status=404, preload_content=False)
            return response
        response.status_code, response.reason = 200, "OK"
        response.headers["Content-Type"] = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        response.headers["Content-Length"] = str(path.stat().st_size)
        response.raw = HTTPResponse(body=file, status=200, preload_content=False)
        return response

    def close(self) -> None:
        pass
