from __future__ import annotations

import json
from pathlib import Path

import pytest

from reprise.audit.rebuild import rebuild_image
from reprise.build import LOCK_LABEL, LOCK_TYPE, SOURCE_LABEL, SOURCE_TYPE
from reprise.lock.read import read_lock
from reprise.store import Store
from reprise.stored_image import read_image_lock, read_image_source, read_inventory
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError
from reprise_trainer.identity.inventory import MANIFEST_TYPE, Inventory, image_bytes

ROOT = Path(__file__).parents[2]
LOCK_FOLDER, ENVIRONMENT = ROOT / "locks" / "torch-cpu", ROOT / "containers" / "images" / "torch-cpu.toml"
SOURCE = b"the trainer"
LOCK = read_lock(LOCK_FOLDER, ENVIRONMENT)
LABELS = {LOCK_LABEL: LOCK.digest, SOURCE_LABEL: sha256_digest(SOURCE)}


def lock_files() -> dict[str, bytes]:
    names = ("conda-lock.yml", "debian.lock.json", "layers.json")
    return {**{name: (LOCK_FOLDER / name).read_bytes() for name in names}, "environment.toml": ENVIRONMENT.read_bytes()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> str:
    """An image that names the real lock, without layers; lock and source are not yet beside it."""
    return put_image(store, LABELS)


def put_image(store: Store, labels: dict[str, str]) -> str:
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}
    made = image_bytes(Inventory((), config))
    store.add(made.inventory_layer)
    store.add(made.config)
    return store.put_manifest(made.manifest)


def attach_lock(store: Store, image: str, files: dict[str, bytes]) -> None:
    store.attach(image, LOCK_TYPE, [(name, "application/json", data) for name, data in files.items()])


def edited(name: str, edit: tuple[bytes, bytes]) -> dict[str, bytes]:
    files = lock_files()
    assert edit[0] in files[name]
    return {**files, name: files[name].replace(*edit, 1)}


SABOTAGE = {
    "a wheel's hash": ("conda-lock.yml", (b'"sha256": "6746', b'"sha256": "6747')),
    "the time": ("debian.lock.json", (b'"created": 1', b'"created": 2')),
    "the layer plan": ("layers.json", (b'"name": "torch"', b'"name": "torch2"')),
    "the environment": ("environment.toml", (b"torch==2.13.0", b"torch==2.12.0")),
}


def test_the_lock_beside_an_image_is_found(store: Store, image: str) -> None:
    attach_lock(store, image, lock_files())
    lock, environment, files = read_image_lock(store, image, read_inventory(store, image))
    assert lock == LOCK and environment.name == "torch-cpu" and files == lock_files()


@pytest.mark.parametrize("what", SABOTAGE)
def test_an_edited_lock_is_not_the_images(store: Store, image: str, what: str) -> None:
    attach_lock(store, image, edited(*SABOTAGE[what]))
    with pytest.raises(DoesNotHoldError, match=f"names lock {LOCK.digest}; beside it"):
        read_image_lock(store, image, read_inventory(store, image))


@pytest.mark.parametrize("what", SABOTAGE)
def test_the_right_lock_is_found_beside_an_edited_one(store: Store, image: str, what: str) -> None:
    attach_lock(store, image, edited(*SABOTAGE[what]))
    attach_lock(store, image, lock_files())
    assert read_image_lock(store, image, read_inventory(store, image))[0] == LOCK


@pytest.mark.parametrize("missing", ["conda-lock.yml", "debian.lock.json", "layers.json", "environment.toml"])
def test_a_lock_that_lacks_a_file_is_not_the_images(store: Store, image: str, missing: str) -> None:
    attach_lock(store, image, {name: data for name, data in lock_files().items() if name != missing})
    with pytest.raises(DoesNotHoldError, match=missing):
        read_image_lock(store, image, read_inventory(store, image))


def test_a_lock_that_is_not_there_is_named(store: Store, image: str) -> None:
    with pytest.raises(NotFoundError, match=f"the lock of image {image}"):
        read_image_lock(store, image, read_inventory(store, image))


def test_an_edited_source_is_not_the_images(store: Store, image: str) -> None:
    inventory = read_inventory(store, image)
    with pytest.raises(NotFoundError, match="source"):
        read_image_source(store, image, inventory)
    store.attach(image, SOURCE_TYPE, [("source.tar", "application/x-tar", SOURCE + b"!")])
    with pytest.raises(DoesNotHoldError, match=sha256_digest(SOURCE)):
        read_image_source(store, image, inventory)
    store.attach(image, SOURCE_TYPE, [("source.tar", "application/x-tar", SOURCE)])
    assert read_image_source(store, image, inventory) == SOURCE


@pytest.mark.parametrize("what", SABOTAGE)
def test_a_sabotaged_lock_makes_the_image_differ_before_anything_is_built(
    store: Store, image: str, tmp_path: Path, what: str
) -> None:
    attach_lock(store, image, edited(*SABOTAGE[what]))
    store.attach(image, SOURCE_TYPE, [("source.tar", "application/x-tar", SOURCE)])
    empty = Store.open(tmp_path / "empty")
    part = rebuild_image(image, store, empty)
    assert part.equal is False and part.expected == image and LOCK.digest in part.difference
    assert list((empty.root / "blobs" / "sha256").iterdir()) == []


def test_an_image_without_labels_cannot_be_rebuilt(store: Store, tmp_path: Path) -> None:
    image = put_image(store, {})
    with pytest.raises(InputError, match=LOCK_LABEL):
        rebuild_image(image, store, Store.open(tmp_path / "empty"))


def test_an_image_that_reprise_did_not_build_is_told(store: Store) -> None:
    config, layer = store.add(b"{}"), store.add(b"x" * 10240)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 10240}],
    }
    image = store.put_manifest(json.dumps(manifest).encode())
    with pytest.raises(InputError, match="no inventory"):
        read_inventory(store, image)


def test_a_manifest_that_does_not_follow_from_its_inventory_is_told(store: Store, image: str) -> None:
    manifest = store.manifest(image)
    other = store.put_manifest(canonical_json({**manifest, "annotations": {"a": "b"}}))
    with pytest.raises(InputError, match="does not follow from its inventory"):
        read_inventory(store, other)
