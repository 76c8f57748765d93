"""Keys, and an image small enough to make in each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from private_sigstore import PrivateSigstore, private_sigstore

from reprise.store import Store
from reprise.trust.keys import make_key
from reprise_trainer.identity.inventory import Inventory, image_bytes


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return make_key()


@pytest.fixture
def stranger() -> ec.EllipticCurvePrivateKey:
    return make_key()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> str:
    return put_image(store, "one")


@pytest.fixture
def other_image(store: Store) -> str:
    return put_image(store, "two")


@pytest.fixture(scope="module")
def sigstore() -> Iterator[PrivateSigstore]:
    """A Sigstore of the tests' own, with a log of version 1."""
    with private_sigstore() as instance:
        yield instance


def put_image(store: Store, label: str) -> str:
    """An image without files of its own, told from others by a label."""
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"test": label}}}
    image = image_bytes(Inventory((), config))
    store.add(image.inventory_layer)
    store.add(image.config)
    return store.put_manifest(image.manifest, tag=label)
