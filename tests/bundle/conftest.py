"""A signed image with lock and note beside it, its bundle, and a way to spoil bundles."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from small_image import Entry, make_image

from reprise.build import LOCK_TYPE
from reprise.bundle.write import write_bundle
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise.trust.verify import verify_image
from reprise_trainer.identity.policy import Policy, write_policy

LAYERS = {"base": {"etc/name": Entry(b"base")}, "data": {"opt/noise": Entry(bytes(range(256)) * 400)}}

Members = list[tuple[tarfile.TarInfo, bytes]]


@dataclass
class Shipped:
    """An image at its origin, its bundle, and the store on the other side."""

    origin: Store
    digest: str
    file: Path
    there: Store
    key: ec.EllipticCurvePrivateKey = field(default_factory=make_key)

    @property
    def policy(self) -> Policy:
        return own_policy(self.key.public_key())

    def check(self, judged: Store, digest: str) -> None:
        verify_image(judged, digest, self.policy).require()

    def is_untouched(self) -> bool:
        """Whether the other side's store holds nothing, and nothing unfinished."""
        blobs = list((self.there.root / "blobs" / "sha256").iterdir())
        return not self.there.listed() and not blobs and not list((self.there.root / "partial").iterdir())

    def spoil(self, change: Callable[[Members], None]) -> None:
        """Write the bundle again, with its members (header, bytes) changed."""
        with tarfile.open(self.file) as archive:
            members = [(each, archive.extractfile(each).read()) for each in archive]  # type: ignore[union-attr]
        change(members)
        with tarfile.open(self.file, "w", format=tarfile.GNU_FORMAT) as archive:
            for info, data in members:
                archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def shipped(tmp_path: Path) -> Shipped:
    origin = Store.open(tmp_path / "origin")
    digest = make_image(origin, LAYERS).digest
    found = Shipped(origin, digest, tmp_path / "small.tar", Store.open(tmp_path / "there"))
    sign_image(origin, digest, "small", found.key)
    lock = origin.attach(digest, LOCK_TYPE, [("lock.json", "application/json", b"{} ")])
    origin.attach(lock, "application/vnd.test.note.v1", [("note", "text/plain", b"about the lock")])
    write_bundle(origin, digest, found.file, name="small", policy=write_policy(found.policy).encode())
    return found
