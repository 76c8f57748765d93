"""A small image as a folder, for tests that change one thing in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from small_image import SmallImage, base_entries, make_image, tiny_entries

from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import RefusedError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement, public_pem, sign_statement
from reprise_trainer.identity.launch import BUNDLE_FILE, LAUNCH_FILE, POLICY_FILE, Launch, encode_launch
from reprise_trainer.identity.measure import Measurement, measure
from reprise_trainer.identity.mounts import Mount
from reprise_trainer.identity.policy import Policy, PolicyKey, write_policy
from reprise_trainer.identity.process import ProcessFacts
from reprise_trainer.identity.start import Identity, verify_identity


@dataclass(frozen=True)
class UnpackedImage:
    """An image and its root as a folder; `measure` looks at the folder."""

    image: SmallImage
    root: Path

    def measure(self) -> Measurement:
        return measure(self.root, owner=(os.getuid(), os.getgid()))

    def differences(self) -> list[str]:
        return [str(difference) for difference in self.measure().differences]


@pytest.fixture(scope="session")
def tiny_image(tmp_path_factory: pytest.TempPathFactory) -> SmallImage:
    store = Store.open(tmp_path_factory.mktemp("store"))
    return make_image(store, {"base": base_entries(), "torch": tiny_entries()})


@pytest.fixture
def unpack(tiny_image: SmallImage, tmp_path: Path) -> Callable[[], UnpackedImage]:
    return lambda: UnpackedImage(tiny_image, tiny_image.unpack(tmp_path / "root"))


@pytest.fixture
def unpacked(unpack: Callable[[], UnpackedImage]) -> UnpackedImage:
    return unpack()


MOUNTS = (Mount("", "/", "overlay", read_only=True), Mount("proc", "/", "proc", read_only=False))
OTHER = sha256_digest(b"another image")
SNAPSHOT = sha256_digest(b"a snapshot")
SBOM = "https://spdx.dev/Document"
PAST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Start:
    """A start that would be let through, until a test changes one thing."""

    root: Path
    folder: Path
    digest: str
    key: ec.EllipticCurvePrivateKey
    process: ProcessFacts

    def verify(
        self, *, mounts: tuple[Mount, ...] = MOUNTS, process: ProcessFacts | None = None, **switches: str
    ) -> Identity:
        owner = (os.getuid(), os.getgid())
        facts = process or self.process
        return verify_identity(
            self.folder, root=self.root, mounts=mounts, process=facts, owner=owner, switches=switches
        )

    def refusal(self, *, mounts: tuple[Mount, ...] = MOUNTS, process: ProcessFacts | None = None) -> str:
        with pytest.raises(RefusedError) as caught:
            self.verify(mounts=mounts, process=process)
        assert caught.value.exit_code == 78
        return str(caught.value)

    def sign(
        self, digest: str, predicate_type: str = IMAGE_SIGNATURE, predicate: Mapping[str, str] | None = None
    ) -> None:
        statement = make_statement("small", digest, predicate_type, predicate or {})
        (self.folder / BUNDLE_FILE).write_bytes(sign_statement(self.key, statement))

    def tell(self, digest: str) -> None:
        (self.folder / LAUNCH_FILE).write_bytes(encode_launch(Launch(digest, SNAPSHOT, "run-1", "namespaces")))


@pytest.fixture
def start(unpacked, tmp_path: Path) -> Start:
    folder = tmp_path / "launch"
    folder.mkdir()
    config = unpacked.image.inventory.config["config"]
    pairs = frozenset((name, value) for name, _, value in (pair.partition("=") for pair in config["Env"]))
    process = ProcessFacts(tuple(config["Entrypoint"]), pairs, (0, 0), True, frozenset(), frozenset())
    made = Start(unpacked.root, folder, unpacked.image.digest, ec.generate_private_key(ec.SECP256R1()), process)
    policy = Policy((PolicyKey("release", public_pem(made.key.public_key())),))
    (folder / POLICY_FILE).write_text(write_policy(policy))
    made.sign(made.digest)
    made.tell(made.digest)
    return made
