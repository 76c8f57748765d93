"""Another project's flake builds its own image: the template, instantiated, with both Nixes."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from nix_tool import CHECKOUT, Flake, Nix
from small_project import NAME, small_project
from stand_in import make_stand_in

from reprise.artifacts.fetch import fetch
from reprise.build import BuiltImage, build_image
from reprise.environments import ENVIRONMENT_FILE, LOCK_FILES
from reprise.image.source import source_archive
from reprise.lock.environment import read_environment
from reprise.lock.model import Lock
from reprise.lock.read import read_lock
from reprise.nix.add import add_to_nix
from reprise.store import Store
from reprise.store.index_entries import TAG


@pytest.fixture(scope="module")
def project(flake: Flake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project: its own environment, lock and trainer, and the template's flake."""
    folder = small_project(tmp_path_factory.mktemp("projects")).root
    trainer = folder / "trainer" / "reprise_trainer"
    trainer.mkdir(parents=True)
    (trainer / "__init__.py").write_text('"""A trainer."""\n')
    flake.nix.run("nix", "flake", "init", "--template", f"path:{flake.folder}", cwd=folder)
    template = (folder / "flake.nix").read_text()
    (folder / "flake.nix").write_text(template.replace("/mine", f"/{NAME}"))
    return folder


def small_lock(project: Path) -> tuple[Lock, dict[str, bytes]]:
    """The project's lock and its files, as `reprise build` takes them."""
    folder, environment = project / "locks" / NAME, project / "containers" / "images" / f"{NAME}.toml"
    files = {name: (folder / name).read_bytes() for name in LOCK_FILES}
    return read_lock(folder, environment), {**files, ENVIRONMENT_FILE: environment.read_bytes()}


@pytest.fixture(scope="module")
def built(project: Path, shared_store: Store, tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    """What `reprise build` makes of it."""
    lock, files = small_lock(project)
    store = Store.open(tmp_path_factory.mktemp("small") / "store")
    sources = read_environment(CHECKOUT / "containers" / "images" / "torch-cpu.toml").sources
    fetch(lock.artifacts, shared_store, sources)
    for artifact in lock.artifacts:
        os.link(shared_store.path(artifact.digest), store.root / "blobs" / "sha256" / artifact.sha256)
    return build_image(lock, files, source_archive(project / "trainer" / "reprise_trainer"), store)


def own_flake(project: Path, flake: Flake) -> Flake:
    return replace(flake, folder=project, inputs=(("reprise", flake.folder), ("reprise/nixpkgs", flake.stand_in)))


def built_by_nix(project: Path, flake: Flake) -> str:
    """The digest of the image that the project's flake builds from artifacts that are put into the Nix store first."""
    lock, _ = small_lock(project)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in flake.nix.environment.items():
            patch.setenv(name, value)
        add_to_nix(lock.artifacts, Store.open())
    output = own_flake(project, flake).build("default", "--option", "sandbox", "true")
    index = json.loads(flake.nix.real(f"{output}/index.json").read_bytes())
    (digest,) = [each["digest"] for each in index["manifests"] if each.get("annotations", {}).get(TAG) == NAME]
    return str(digest)


def test_the_template_is_five_lines_of_its_own() -> None:
    text = (CHECKOUT / "examples" / "nix" / "flake.nix").read_text()
    assert text[text.index("reprise.lib.mkImage") : text.index("};")].count("\n") <= 5


def test_an_image_of_another_project_is_the_one_that_reprise_builds(
    project: Path, flake: Flake, built: BuiltImage
) -> None:
    assert built_by_nix(project, flake) == built.digest


def test_building_each_derivation_again_gives_the_same_bytes(project: Path, flake: Flake, built: BuiltImage) -> None:
    own = own_flake(project, flake)
    built_by_nix(project, flake)
    own.build("default", "--rebuild")
    image = own.evaluate("default.drvPath")
    ours = flake.nix.run("nix-store", "--query", "--references", image).stdout.split()
    ours = [path for path in ours if path.endswith(".drv") and ("-layer-" in path or "-reprise" in path)]
    assert len(ours) == 9  # the image's Python, base, four of packages, one of a wheel, trainer, the trainer's archive
    flake.nix.run("nix-store", "--realise", "--check", *ours)


def test_the_newest_nix_gives_the_same_image(
    project: Path, flake: Flake, newest_nix: Nix, built: BuiltImage, tmp_path: Path
) -> None:
    stand_in = make_stand_in(tmp_path / "nixpkgs", newest_nix)
    newest = replace(flake, nix=newest_nix, stand_in=stand_in)
    assert newest_nix.run("nix", "--version").stdout.split()[-1] >= "2.34"
    newest.run("flake check", "--no-build")
    assert built_by_nix(project, newest) == built.digest
