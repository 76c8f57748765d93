"""An image of conda packages, with conda's own Python: Nix gives what `reprise build` gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from conda_channel import SITE_PACKAGES, Channel
from conda_image import PYTHON, conda_lock
from nix_tool import CHECKOUT, Flake, copy_flake
from small_project import NAME, small_project

from reprise.build import build_image
from reprise.environments import ENVIRONMENT_FILE, LOCK_FILES
from reprise.image.source import source_archive
from reprise.lock.model import Lock
from reprise.lock.read import read_lock
from reprise.nix.add import add_to_nix
from reprise.store import Store
from reprise.store.index_entries import TAG


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def write_conda_lock(root: Path, lock: Lock, channel: Channel) -> tuple[Path, Path]:
    """The files of a lock of conda packages, and an environment file for it: the folder and the file."""
    folder, environment = root / "locks" / NAME, root / "containers" / "images" / f"{NAME}.toml"
    document = json.loads((folder / "conda-lock.yml").read_bytes())
    committed = json.loads((CHECKOUT / "locks" / "torch-cpu" / "conda-lock.yml").read_bytes())["package"]
    purls = {artifact.purl for artifact in lock.artifacts}
    document["package"] = [each for each in committed if each["url"] in purls]
    for artifact in lock.artifacts:
        if artifact.kind == "conda":
            package = channel.package(artifact.name)
            needs = {each.partition(" ")[0]: each.partition(" ")[2] for each in package.depends}
            hashes = {"sha256": package.sha256, "md5": package.md5}
            entry = {"manager": "conda", "name": package.name, "version": package.version, "url": artifact.location}
            entry |= {"dependencies": needs, "hash": hashes, "platform": "linux-64"}
            document["package"].append({**entry, "category": "main", "optional": False})
    assert lock.conda is not None
    document["metadata"]["custom_metadata"] |= {"prefix": lock.conda.prefix, "site_packages": SITE_PACKAGES}
    (folder / "conda-lock.yml").write_text(json.dumps(document))
    debian = json.loads((CHECKOUT / "locks" / "torch-cpu" / "debian.lock.json").read_bytes())
    debian["packages"] = [each for each in debian["packages"] if each["purl"] in purls]
    (folder / "debian.lock.json").write_text(json.dumps(debian))
    layers = [{"name": layer.name, "artifacts": list(layer.artifacts)} for layer in lock.layers]
    (folder / "layers.json").write_text(json.dumps({"format": 1, "layers": layers}))
    return folder, environment


@contextmanager
def environment_of(flake: Flake) -> Iterator[None]:
    """This process told which Nix to use."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in flake.nix.environment.items():
            patch.setenv(name, value)
        yield


def test_an_image_of_conda_packages_is_the_one_that_reprise_builds(
    flake: Flake, conda_channel: Channel, store: Store, tmp_path: Path
) -> None:
    changed = replace(flake, folder=copy_flake(tmp_path / "reprise"))
    small = small_project(tmp_path / "project").root
    for part in (f"locks/{NAME}", f"containers/images/{NAME}.toml"):
        (small / part).rename(changed.folder / part)
    lock = conda_lock(conda_channel, PYTHON, store, wheels=())
    folder, environment = write_conda_lock(changed.folder, lock, conda_channel)
    read = read_lock(folder, environment)
    assert {each.purl for each in read.artifacts} == {each.purl for each in lock.artifacts}
    files = {name: (folder / name).read_bytes() for name in LOCK_FILES}
    files[ENVIRONMENT_FILE] = environment.read_bytes()
    source = source_archive(changed.folder / "trainer" / "reprise_trainer")
    built = build_image(read, files, source, store)
    with environment_of(flake):
        add_to_nix(read.artifacts, store)
    output = changed.build(f"image-{NAME}")
    index = json.loads((output / "index.json").read_bytes())["manifests"]
    (digest,) = [each["digest"] for each in index if each.get("annotations", {}).get(TAG) == NAME]
    assert digest == built.digest
