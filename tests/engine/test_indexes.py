"""What only an image can do, asked of an index."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_image import put_index
from tests.interop.conftest import put_image

from reprise.engine.interface import ImageRef
from reprise.store import Store
from reprise.store.platforms import INDEX_TYPES, choose_image, host_platform, images_of, parts_of
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError, NotFoundError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_an_engine_says_that_it_needs_one_of_the_images(store: Store) -> None:
    image = put_image(store, "one")
    for kind in INDEX_TYPES:
        index = ImageRef(store, put_index(store, {"linux/amd64": image}, kind))
        for ask in (index.layers, index.config_bytes, index.process):
            with pytest.raises(InputError, match="is an index of images") as caught:
                ask()
            assert image in caught.value.hint


def test_images_of_an_index_within_an_index_are_found(store: Store) -> None:
    one, two = put_image(store, "one"), put_image(store, "two")
    inner = put_index(store, {"linux/arm64": two})
    outer = put_index(store, {"linux/amd64": one, "any/any": inner})
    assert [(each.platform, each.digest) for each in images_of(store, outer)] == [
        ("linux/amd64", one),
        ("linux/arm64", two),
    ]
    assert parts_of(store, outer) == (one, inner, two) and parts_of(store, one) == ()


def test_a_variant_is_taken_where_nothing_plainer_is_there(store: Store) -> None:
    plain, v3 = put_image(store, "plain"), put_image(store, "v3")
    both = images_of(store, put_index(store, {"linux/amd64/v3": v3, "linux/amd64": plain}))
    assert choose_image(both, "linux/amd64", "x").digest == plain
    assert choose_image(both, "linux/amd64/v3", "x").digest == v3
    assert choose_image(both[:1], "linux/amd64", "x").digest == v3
    two = images_of(store, put_index(store, {"linux/amd64/v3": v3, "linux/amd64/v4": plain}))
    with pytest.raises(NotFoundError, match="2 images for linux/amd64"):
        choose_image(two, "linux/amd64", "x")
    with pytest.raises(NotFoundError, match="no image for linux/riscv64"):
        choose_image(both, "linux/riscv64", "x")


def test_this_machine_is_a_linux_one_by_go_s_name() -> None:
    assert host_platform() in ("linux/amd64", "linux/arm64")


def test_a_document_that_is_image_and_index_at_once_is_no_index(store: Store) -> None:
    both = store.add(canonical_json({"schemaVersion": 2, "manifests": [], "layers": [], "config": {}}))
    assert images_of(store, both) == ()
