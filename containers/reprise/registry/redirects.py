"""Where a registry may send us, and what goes there: the whole request with its body, never what proves who we are.

A registry on this machine is asked without a proxy, whatever the environment says: over plain http another machine
would see the login. docker and podman do the same (Go's net/http, ProxyFromEnvironment).

Source: RFC 9110, 15.4 (a 301 or 302 answer lets a client change POST to GET and does not ask for it: an upload is sent
again as it is, as after 307 and 308; 303 alone means GET), and OCI distribution spec v1.1, which lets registries answer
with redirects to storage hosts.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import requote_uri

from reprise.artifacts.headers import header_number
from reprise.registry.auth import origin_of
from reprise.registry.reference import is_loopback
from reprise_trainer.errors import InputError, UnavailableError

HOPS = 5
"""Redirects in a row."""

_SHORT_BYTES = 1 << 16
_BODY = ("Content-Length", "Content-Type", "Transfer-Encoding", "Content-Range")


class RegistrySession(requests.Session):
    """A session that follows redirects by the rules above, and sends a body anew from its source."""

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**settings, "proxies": {}} if _is_here(str(url)) else settings

    def resolve_redirects(
        self,
        resp: requests.Response,
        req: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
        yield_requests: bool = False,
        **adapter_kwargs: Any,
    ) -> Generator[requests.Response, None, None]:
        """The answers that a redirect leads to; see `requests.Session`, which calls this.

        Raises:
            UnavailableError: it leads to where nothing is sent (`safe_target`), or on and on.
        """
        if yield_requests:
            return  # whoever asks not to be redirected needs no prepared request either
        hops = 0
        while location := self.get_redirect_target(resp):
            _done_with(resp)
            hops += 1
            if hops > HOPS:
                raise UnavailableError(f"{origin_of(req.url or '')} redirects more than {HOPS} times in a row")
            req = _next_request(req, resp, location)
            req.prepare_cookies(self.cookies)
            proxies = {} if _is_here(req.url or "") else self.rebuild_proxies(req, proxies)  # type: ignore[no-untyped-call]
            resp = self.send(
                req,
                stream=stream,
                timeout=timeout,
                verify=verify,
                cert=cert,
                proxies=proxies,
                allow_redirects=False,
                **adapter_kwargs,
            )
            yield resp


def safe_target(url: str, location: str) -> str:
    """The address that an answer from `url` sends us to.

    Raises:
        UnavailableError: it is not https, nor http from this machine to itself.
        InputError: it is no address.
    """
    try:
        target = requote_uri(urljoin(url, location))
        parts = urlsplit(target)
    except ValueError as error:
        raise InputError(f"{origin_of(url)} sends us to {location[:100]!r}, which is no address: {error}") from error
    local = parts.scheme == "http" and urlsplit(url).scheme == "http" and _is_here(target)
    if not (parts.scheme == "https" or local):
        raise UnavailableError(
            f"{origin_of(url)} sends us to {origin_of(target)}, which is not a safe connection: nothing was sent there",
            hint="Whoever runs the registry has to redirect to https addresses.",
        )
    return target


def _is_here(url: str) -> bool:
    return is_loopback(urlsplit(url).netloc.rpartition("@")[2])


def _done_with(answer: requests.Response) -> None:
    """Free the connection of a redirect: by reading its body where that is short, since it is of no use."""
    length = header_number(answer, "Content-Length")
    if length is not None and length <= _SHORT_BYTES:
        _ = answer.content
    answer.close()


def _next_request(
    request: requests.PreparedRequest, answer: requests.Response, location: str
) -> requests.PreparedRequest:
    """The same request to where `answer` leads; its credential stays with the host that it was made for."""
    following = request.copy()
    following.url = safe_target(answer.url, location)
    if origin_of(following.url) != origin_of(answer.url):
        following.headers.pop("Authorization", None)
    following.headers.pop("Cookie", None)
    if answer.status_code == requests.codes.see_other and request.method != "HEAD":
        following.method, following.body = "GET", None
        for name in _BODY:
            following.headers.pop(name, None)
    return following
