"""A registry that sends us elsewhere: bodies go along, credentials stay, and nothing leaves a safe connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oci_registry import Fault, OciRegistry, serve_registry
from redirecting_proxy import RedirectingProxy, Rule, serve_proxy

from reprise.registry import upload
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.redirects import HOPS, safe_target
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError, UnavailableError

from .conftest import log_in


def at(host: str, path: str = "team/small:1") -> Any:
    return parse_reference(f"{host}/{path}")


@pytest.fixture
def proxy(host: str) -> Iterator[RedirectingProxy]:
    """In front of a docker-registry, and of one with the referrers API."""
    with serve_proxy(RedirectingProxy(host)) as running:
        yield running


@pytest.fixture
def before_api(registry: OciRegistry) -> Iterator[RedirectingProxy]:
    with serve_proxy(RedirectingProxy(registry.host)) as running:
        yield running


def straight_to(host: str) -> Any:
    return lambda path: f"http://{host}{path}"


@pytest.mark.parametrize("status", [302, 307])
def test_uploads_and_manifests_arrive_whole_where_they_are_redirected_to(
    image: Any, proxy: RedirectingProxy, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    proxy.rules = [Rule("PATCH|PUT|POST", "", status, straight_to(proxy.upstream))]
    where = f"redirected/s{status}:1"
    push(image.store, image.digest, at(proxy.host, where))
    assert {method for method, _ in proxy.redirected} >= {"POST", "PUT"}
    fresh = Store.open(tmp_path / "fresh")
    pull(at(proxy.upstream, where), fresh)
    assert set(fresh.listed()) == {image.digest, *image.referrers.values()}


@pytest.mark.parametrize("status", [301, 308])
def test_a_body_is_sent_again_from_its_source_at_each_hop(
    image: Any, proxy: RedirectingProxy, tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's own addresses lead through the proxy, which lets the first try of each body through nowhere."""
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    seen: set[str] = set()

    def round_and_back(path: str) -> str:
        seen.add(path)
        return f"{path}{'&' if '?' in path else '?'}again=1"

    proxy.rules = [Rule("PATCH|PUT", r"^(?!.*again=1)", status, round_and_back)]
    where = f"again/s{status}:1"
    push(image.store, image.digest, at(proxy.host, where))
    assert {method for method, _ in proxy.redirected} == {"PATCH", "PUT"} and seen
    pull(at(proxy.upstream, where), Store.open(tmp_path / "fresh"))


def test_a_layer_may_come_from_where_the_registry_sends_us(image: Any, proxy: RedirectingProxy, tmp_path: Path) -> None:
    push(image.store, image.digest, at(proxy.upstream, "from/elsewhere:1"))
    proxy.rules = [Rule("GET|HEAD", "/blobs/", 307, straight_to(proxy.upstream))]
    assert pull(at(proxy.host, "from/elsewhere:1"), Store.open(tmp_path / "fresh")).digest == image.digest
    assert proxy.redirected


def test_no_credential_goes_along_to_another_host(
    image: Any, registry: OciRegistry, no_logins: Path, tmp_path: Path
) -> None:
    """The proxy gives the challenge of the registry's token server; the host behind it sees no token of the proxy's."""
    registry.password = "secret"
    with serve_proxy(RedirectingProxy(registry.host)) as proxy, serve_proxy(RedirectingProxy(registry.host)) as other:
        log_in(no_logins, proxy.host)
        proxy.rules = [Rule("PATCH|PUT", "", 307, straight_to(other.host))]
        with pytest.raises(UnavailableError, match="denies access"):
            push(image.store, image.digest, at(proxy.host))
        assert any("Authorization" in headers for _, _, headers in proxy.asked)
        assert other.asked and not any("Authorization" in headers for _, _, headers in other.asked)
        assert not any("Cookie" in headers for _, _, headers in other.asked)


def test_a_credential_stays_with_a_redirect_on_its_own_host(
    image: Any, before_api: RedirectingProxy, registry: OciRegistry, no_logins: Path
) -> None:
    registry.password = "secret"
    log_in(no_logins, before_api.host)
    before_api.rules = [Rule("PUT", r"^(?!.*again=1)", 307, lambda path: f"{path}{'&' if '?' in path else '?'}again=1")]
    push(image.store, image.digest, at(before_api.host))
    again = [headers for _, path, headers in before_api.asked if "again=1" in path]
    assert again and all("Authorization" in headers for headers in again)


def test_see_other_is_no_answer_to_an_upload(image: Any, before_api: RedirectingProxy, registry: OciRegistry) -> None:
    """303 means: fetch the answer there. That is not where a body goes, and nothing is believed to have arrived."""
    before_api.rules = [Rule("PUT", "/manifests/", 303, straight_to(before_api.upstream))]
    with pytest.raises(NotFoundError, match="does not have team/small/manifests"):
        push(image.store, image.digest, at(before_api.host))
    assert not registry.manifests


@pytest.mark.parametrize(
    ("method", "path", "location"),
    [
        ("GET", "/blobs/", "file:///etc/passwd"),
        ("GET", "/manifests/", "http://storage.example.org/x"),
        ("PUT", "/blobs/uploads/", "ftp://127.0.0.1/x"),
        ("PUT", "/blobs/uploads/", "//storage.example.org/x"),
    ],
)
def test_nothing_is_asked_or_sent_over_an_unsafe_connection(
    image: Any, before_api: RedirectingProxy, tmp_path: Path, location: str, method: str, path: str
) -> None:
    push(image.store, image.digest, at(before_api.upstream, "fine/small:1"))
    before_api.rules = [Rule(method, path, 307, lambda asked: location)]
    with pytest.raises(UnavailableError, match="not a safe connection"):
        if method == "PUT":
            push(image.store, image.digest, at(before_api.host, "other/small:1"))
        else:
            pull(at(before_api.host, "fine/small:1"), Store.open(tmp_path / "fresh"))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://storage.example.org/v2/x", "gopher://127.0.0.1/"])
def test_an_upload_is_not_opened_on_an_unsafe_connection(image: Any, registry: OciRegistry, location: str) -> None:
    registry.faults = [Fault("POST", "/blobs/uploads/", status=202, headers={"Location": location}, times=99)]
    with pytest.raises(UnavailableError, match="not a safe connection"):
        push(image.store, image.digest, at(registry.host))


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://a.org/v2/x", "https://b.org/y", "https://b.org/y"),
        ("https://a.org/v2/x", "/y", "https://a.org/y"),
        ("https://a.org/v2/x", "//b.org/y", "https://b.org/y"),
        ("http://127.0.0.1:5000/v2/x", "http://localhost:6000/y", "http://localhost:6000/y"),
        ("http://127.0.0.1:5000/v2/x", "https://b.org/y", "https://b.org/y"),
        ("https://a.org/v2/x", "http://a.org/v2/x", None),
        ("https://a.org/v2/x", "http://localhost/y", None),
        ("https://127.0.0.1/v2/x", "http://127.0.0.1/v2/x", None),
        ("http://127.0.0.1:5000/v2/x", "http://127.0.0.1@b.org/y", None),
        ("http://127.0.0.1:5000/v2/x", "http://b.org/y", None),
    ],
)
def test_https_never_leads_to_http(url: str, location: str, target: str | None) -> None:
    if target is not None:
        assert safe_target(url, location) == target
        return
    with pytest.raises(UnavailableError, match="not a safe connection"):
        safe_target(url, location)


def test_a_circle_ends(image: Any, before_api: RedirectingProxy, tmp_path: Path) -> None:
    before_api.rules = [Rule("GET", "/manifests/", 307, lambda path: path)]
    with pytest.raises(UnavailableError, match="in a row"):
        pull(at(before_api.host), Store.open(tmp_path / "fresh"))
    assert len(before_api.asked) == HOPS + 1


def test_what_arrives_elsewhere_and_not_here_is_found_out(image: Any, registry: OciRegistry) -> None:
    other = OciRegistry()
    with serve_registry(other), serve_proxy(RedirectingProxy(registry.host)) as proxy:
        proxy.rules = [Rule("PUT", "/manifests/", 307, straight_to(other.host))]
        with pytest.raises(InputError, match="refuses PUT"):  # the other one has no blob of it
            push(image.store, image.digest, at(proxy.host))
        assert not registry.manifests
