"""A small image as a folder, for tests that change one thing in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_image import SmallImage, base_entries, make_image, tiny_entries

from reprise.store import Store
from reprise_trainer.identity.measure import Measurement, measure


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
