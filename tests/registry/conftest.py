"""Registries on loopback, with and without the referrers API, and an image with all that may refer to it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from oci_registry import OciRegistry, serve_registry
from servers import docker_registry
from small_image import Entry, make_image

from reprise.build import LOCK_TYPE, SOURCE_TYPE
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.sign import sign_image

NOISE = os.urandom(3_000_000)


@dataclass(frozen=True)
class Pushed:
    """An image in a store, with lock, source, a signature and something that refers to the lock."""

    store: Store
    digest: str
    referrers: dict[str, str]
    key: ec.EllipticCurvePrivateKey


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This machine's own logins count for nothing; gives the folder of docker's configuration."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text("{}")
    return tmp_path / "docker"


@pytest.fixture
def image(tmp_path: Path) -> Pushed:
    return whole_image(Store.open(tmp_path / "store"))


def whole_image(store: Store, *, more: bytes = b"") -> Pushed:
    layers = {"base": {"etc/name": Entry(b"base")}, "data": {"opt/noise": Entry(NOISE)}, "top": {"opt/x": Entry(more)}}
    digest = make_image(store, layers).digest
    key = make_key()
    lock = store.attach(digest, LOCK_TYPE, [("lock.json", "application/json", b"{} ")])
    referrers = {
        "lock": lock,
        "source": store.attach(digest, SOURCE_TYPE, [("source.tar", "application/x-tar", b"tar")]),
        "signature": sign_image(store, digest, "small", key),
        "of the lock": store.attach(lock, "application/vnd.test.note.v1", [("note", "text/plain", b"about the lock")]),
    }
    return Pushed(store, digest, referrers, key)


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The host of a docker-registry, which has no referrers API."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture
def registry() -> Iterator[OciRegistry]:
    """A registry with the referrers API."""
    with serve_registry(OciRegistry()) as running:
        yield running


@pytest.fixture(params=["docker-registry", "referrers API"])
def host(request: pytest.FixtureRequest) -> str:
    """Either kind."""
    if request.param == "docker-registry":
        return str(request.getfixturevalue("plain_registry"))
    return str(request.getfixturevalue("registry").host)


def log_in(folder: Path, host: str, user: str = "me", password: str = "secret") -> None:
    """What `docker login` leaves."""
    import base64

    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
