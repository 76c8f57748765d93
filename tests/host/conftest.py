"""A registry with the referrers API on loopback, a small signed image in it, and the empty store of a host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from oci_registry import OciRegistry, serve_registry
from small_image import Entry, make_image

from reprise.host import ObtainedImage, obtain_image
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise_trainer.identity.policy import Policy

LAYERS = {"base": {"etc/name": Entry(b"base")}, "data": {"opt/noise": Entry(bytes(range(256)) * 400)}}


@pytest.fixture(autouse=True)
def no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own logins count for nothing."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@dataclass
class Site:
    """Who builds and signs (`origin`), the registry between, and the host's own store."""

    registry: OciRegistry
    origin: Store
    host: Store
    key: ec.EllipticCurvePrivateKey = field(default_factory=make_key)

    @property
    def policy(self) -> Policy:
        return own_policy(self.key.public_key())

    def make(self, *, more: bytes = b"", signed: bool = True) -> str:
        """A new image at the origin."""
        digest = make_image(self.origin, {**LAYERS, "top": {"opt/x": Entry(more)}}).digest
        if signed:
            sign_image(self.origin, digest, "small", self.key)
        return digest

    def push(self, digest: str, path: str = "team/small:1") -> str:
        reference = f"{self.registry.host}/{path}"
        push(self.origin, digest, parse_reference(reference))
        self.registry.asked.clear()
        return reference

    def obtain(self, name: str) -> ObtainedImage:
        return obtain_image(name, self.host, self.policy)

    def layers(self, digest: str) -> list[str]:
        return [layer["digest"] for layer in self.origin.manifest(digest)["layers"]]

    def asked_for(self, digests: list[str]) -> list[str]:
        """Requests of any kind for these blobs."""
        return [each.path for each in self.registry.asked if any(digest in each.path for digest in digests)]

    def is_untouched(self) -> bool:
        """Whether the host's store holds nothing, and nothing unfinished."""
        blobs = list((self.host.root / "blobs" / "sha256").iterdir())
        return not self.host.listed() and not blobs and not list((self.host.root / "partial").iterdir())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serve_registry(OciRegistry()) as registry:
        yield Site(registry, Store.open(tmp_path / "origin"), Store.open(tmp_path / "host"))
