"""What moves when something changes: Nix rebuilds that, and takes the rest as it is. Evaluated, not built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from nix_tool import Flake, copy_flake

Change = Callable[[Path], None]


def outputs(flake: Flake, environment: str = "torch-cpu") -> tuple[str, dict[str, str]]:
    """The output paths of an image and of its layers (by name): what a derivation follows from is in its path."""
    image = f"packages.x86_64-linux.image-{environment}"
    apply = "image: { image = image.outPath; layers = map (each: [ each.name each.outPath ]) image.layers; }"
    found = flake.evaluate(image, "--apply", apply)
    return found["image"], dict(found["layers"])


@pytest.fixture
def changed(flake: Flake, tmp_path: Path) -> Flake:
    """A copy of this checkout's flake, to be changed."""
    return replace(flake, folder=copy_flake(tmp_path / "reprise"))


def append(path: Path) -> None:
    path.write_text(path.read_text() + "# one line more\n")


def moved(flake: Flake, changed: Flake) -> set[str]:
    """Names of the layers that a change has moved; the image has moved."""
    (image, layers), (new_image, new_layers) = outputs(flake), outputs(changed)
    assert image != new_image and layers.keys() == new_layers.keys()
    return {name for name in layers if layers[name] != new_layers[name]}


def test_the_trainer_moves_its_own_layer(flake: Flake, changed: Flake) -> None:
    append(changed.folder / "trainer" / "reprise_trainer" / "training" / "loop.py")
    assert moved(flake, changed) == {"layer-trainer"}


def test_the_code_that_puts_images_together_moves_no_layer(flake: Flake, changed: Flake) -> None:
    append(changed.folder / "containers" / "reprise" / "build.py")
    assert moved(flake, changed) == set()


def test_the_code_that_makes_layers_moves_all(flake: Flake, changed: Flake) -> None:
    append(changed.folder / "containers" / "reprise" / "image" / "wheel.py")
    assert moved(flake, changed) == set(outputs(flake)[1])


def test_another_wheel_moves_the_one_layer_that_it_is_in(flake: Flake, changed: Flake) -> None:
    file = changed.folder / "locks" / "torch-cpu" / "conda-lock.yml"
    lock = json.loads(file.read_bytes())
    (numpy,) = [each for each in lock["package"] if each["name"] == "numpy"]
    numpy["hash"]["sha256"] = "5" * 64
    file.write_text(json.dumps(lock))
    assert moved(flake, changed) == {"layer-numpy"}


def test_a_change_of_the_command_moves_nothing_of_an_image(flake: Flake, changed: Flake) -> None:
    append(changed.folder / "containers" / "reprise" / "cli" / "main.py")
    append(changed.folder / "containers" / "reprise" / "train.py")
    assert outputs(flake) == outputs(changed)


def test_two_environments_share_the_layers_that_they_have_in_common(changed: Flake) -> None:
    locks, images = changed.folder / "locks", changed.folder / "containers" / "images"
    shutil.copytree(locks / "torch-cpu", locks / "other")
    shutil.copy(images / "torch-cpu.toml", images / "other.toml")
    lock = json.loads((locks / "other" / "conda-lock.yml").read_bytes())
    lock["metadata"]["custom_metadata"]["environment"] = "other"
    lock["metadata"]["content_hash"]["linux-64"] = "6" * 64
    (locks / "other" / "conda-lock.yml").write_text(json.dumps(lock))
    (image, layers), (other_image, other_layers) = outputs(changed), outputs(changed, "other")
    assert image != other_image and layers == other_layers
