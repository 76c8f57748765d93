"""An image from another builder's OCI layout: copied by digest, signed, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_image import SmallImage, make_image, tiny_entries

from reprise.layouts import take_layout, take_signed
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import stored_bundles
from reprise.trust.verify import verify_image
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError


@pytest.fixture
def image(tmp_path: Path) -> SmallImage:
    """An image in a store of its own, with something that refers to it."""
    image = make_image(Store.open(tmp_path / "layout"), {"one": tiny_entries()}, tag="mine")
    image.store.attach(image.digest, "application/vnd.example", [("note", "text/plain", b"hello")])
    return image


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_all_of_a_layout_comes_over_with_its_tags_and_referrers(image: SmallImage, store: Store) -> None:
    assert take_layout(image.store.root, store) == {"mine": image.digest}
    assert store.resolve("mine") == image.digest
    for layer in image.inventory.layers:
        assert store.read(layer.digest) == image.store.read(layer.digest)
    (note,) = store.referrers(image.digest, "application/vnd.example")
    assert store.files(note["digest"]) == {"note": b"hello"}


def test_a_second_time_copies_nothing(image: SmallImage, store: Store) -> None:
    take_layout(image.store.root, store)
    before = {path: path.stat().st_mtime_ns for path in (store.root / "blobs" / "sha256").iterdir()}
    index = (store.root / "index.json").read_bytes()
    take_layout(image.store.root, store)
    assert {path: path.stat().st_mtime_ns for path in (store.root / "blobs" / "sha256").iterdir()} == before
    assert (store.root / "index.json").read_bytes() == index


def test_a_damaged_blob_is_named_and_its_image_does_not_come_over(image: SmallImage, store: Store) -> None:
    blob = image.store.path(image.inventory.layers[0].digest)
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{blob.name} is damaged"):
        take_layout(image.store.root, store)
    assert not json.loads((store.root / "index.json").read_bytes())["manifests"]
    assert not list((store.root / "partial").iterdir())


def test_a_folder_that_is_no_layout_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an OCI layout"):
        take_layout(tmp_path, store)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "not JSON"),
        ("[" * 5000, "nested"),
        ('{"manifests": 1}', "no list of manifests"),
        ("[]", "no list of manifests"),
        ('{"manifests": [1]}', "no list of manifests"),
        ('{"manifests": [{"mediaType": "x", "digest": "sha256:../../etc/passwd"}]}', "no list of manifests"),
        ('{"manifests": [{"mediaType": "x", "digest": "sha256:%s", "annotations": [1]}]}' % ("0" * 64), "no list"),
        (" " * (5 << 20), "more than the limit"),
    ],
)
def test_an_index_that_is_none_is_refused(image: SmallImage, store: Store, index: str, said: str) -> None:
    (image.store.root / "index.json").write_text(index)
    with pytest.raises(InputError, match=said):
        take_layout(image.store.root, store)


def test_a_layout_without_the_blobs_that_it_lists_is_refused(image: SmallImage, store: Store) -> None:
    shutil.rmtree(image.store.root / "blobs")
    with pytest.raises(NotFoundError, match=image.digest):
        take_layout(image.store.root, store)
    assert store.listed() == []


def test_layers_stay_writable_by_nobody_but_the_store(image: SmallImage, store: Store) -> None:
    """The layout may be the Nix store: its files are copied, never linked, so no mode of theirs changes."""
    blob = image.store.path(image.inventory.layers[0].digest)
    blob.chmod(0o444)
    take_layout(image.store.root, store)
    assert blob.stat().st_mode & 0o777 == 0o444 and blob.stat().st_nlink == 1


def test_an_image_that_the_policy_does_not_accept_yet_is_signed_once(image: SmallImage, store: Store) -> None:
    key = make_key()
    for _ in range(2):
        take_signed(image.store.root, store, key, own_policy(key.public_key()))
    assert verify_image(store, image.digest, own_policy(key.public_key())).holds
    assert len(stored_bundles(store, image.digest)) == 1


def test_a_key_that_the_policy_does_not_accept_is_refused(image: SmallImage, store: Store) -> None:
    with pytest.raises(DoesNotHoldError):
        take_signed(image.store.root, store, make_key(), own_policy(make_key().public_key()))
