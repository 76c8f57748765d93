"""An archive is all that a rebuild needs: with it there is no index, no mirror and no network to ask."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import docker_registry
from small_project import NAME, give_artifacts, small_project

from reprise.archive import ARCHIVE_TYPE, PURL, archive_image
from reprise.build import BuiltImage
from reprise.environments import build_environment, load_lock
from reprise.host_wheels import host_wheels
from reprise.project import Project
from reprise.registry.archived import archived_places
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.store.layout import TITLE
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, NotFoundError, UnavailableError

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, shared_store: Store) -> tuple[Project, Store, BuiltImage]:
    """A small project, and its image in a store of its own."""
    folder = tmp_path_factory.mktemp("archive")
    project = small_project(folder / "project")
    store = Store.open(folder / "store")
    digests = [artifact.digest for artifact in load_lock(project, NAME).artifacts]
    load = [digest for digest in digests if shared_store.has(digest)]
    give_artifacts(shared_store, store, load)
    return project, store, build_environment(project, NAME, store)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def offline(tmp_path: Path) -> Command:
    """`reprise` in a network namespace with nothing in it, not even loopback, and neither pip nor apt configured."""
    empty = tmp_path / "nothing"
    empty.mkdir()
    tools = {name: empty / name for name in ("pip", "pip3", "apt-get", "apt-config", "curl")}
    for path in tools.values():
        path.write_text('#!/bin/sh\necho asked >> "$0.asked"; exit 9\n')
        path.chmod(0o755)
    (empty / "apt.conf").write_text(f'Dir "{empty}";\n')
    environment = {
        "PATH": f"{empty}:/usr/bin:/bin",
        "HOME": str(empty),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "APT_CONFIG": str(empty / "apt.conf"),
    }

    def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "--net", sys.executable, "-m", "reprise", *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500)
        assert not list(empty.glob("*.asked")), "a client was asked"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def test_an_archive_holds_lock_source_artifacts_and_the_host_side(built: Any) -> None:
    project, store, image = built
    archive = archive_image(store, image.digest)
    manifest = store.manifest(archive.digest)
    assert manifest["artifactType"] == ARCHIVE_TYPE
    assert manifest["subject"]["digest"] == image.digest
    layers = {layer["annotations"][TITLE]: layer for layer in manifest["layers"]}
    lock = load_lock(project, NAME)
    by_purl = {each["annotations"][PURL]: each["digest"] for each in layers.values() if PURL in each["annotations"]}
    assert by_purl == {artifact.purl: artifact.digest for artifact in lock.artifacts}
    assert any(artifact.category == "build" for artifact in lock.artifacts)
    for name in ("conda-lock.yml", "debian.lock.json", "layers.json"):
        assert store.read(layers[f"lock/{name}"]["digest"]) == (project.lock_folder(NAME) / name).read_bytes()
    assert layers["lock/environment.toml"]["digest"] == sha256_digest(project.environment_file(NAME).read_bytes())
    assert "source/source.tar" in layers
    assert any(title.startswith("host/reprise-") for title in layers)
    assert any(title.startswith("host/zstandard-") for title in layers)
    for layer in layers.values():
        assert store.check(layer["digest"]).stat().st_size == layer["size"]


def test_an_archive_is_made_once_and_copies_no_artifact(built: Any) -> None:
    _, store, image = built
    first = archive_image(store, image.digest)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in store.root.rglob("*") if path.is_file())
    assert archive_image(store, image.digest) == first
    assert sorted((path.name, path.stat().st_mtime_ns) for path in store.root.rglob("*") if path.is_file()) == before
    referrers = store.referrers(image.digest, ARCHIVE_TYPE)
    assert [each["digest"] for each in referrers] == [first.digest]


def test_another_store_makes_the_same_archive(built: Any, tmp_path: Path) -> None:
    project, store, image = built
    other = Store.open(tmp_path / "other")
    give_artifacts(store, other, [artifact.digest for artifact in load_lock(project, NAME).artifacts])
    again = build_environment(project, NAME, other)
    assert archive_image(other, again.digest) == archive_image(store, image.digest)


def test_from_the_registry_alone_it_is_rebuilt_without_any_network(
    built: Any, host: str, offline: Command, tmp_path: Path
) -> None:
    project, store, image = built
    archive_image(store, image.digest)
    push(store, image.digest, parse_reference(f"{host}/small:1"))
    fresh = Store.open(tmp_path / "fresh")
    report = pull(parse_reference(f"{host}/small:1"), fresh)
    assert report.digest == image.digest
    done = offline("build", NAME, "--offline", "--store", fresh.root, "--json", cwd=project.root)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["digest"] == image.digest
    assert again["built"] == len(again["layers"]), "a layer came from a cache"


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_from_a_layout_on_disk_it_is_rebuilt_without_any_network(
    built: Any, offline: Command, tmp_path: Path, form: str
) -> None:
    project, store, image = built
    archive_image(store, image.digest)
    layout = tmp_path / "layout"
    shutil.copytree(store.root, layout, ignore=shutil.ignore_patterns("cache", "partial"))
    if form == "tar":
        layout = Path(shutil.make_archive(str(layout), "tar", layout))
    target = tmp_path / "fresh"
    done = offline("build", NAME, "--offline", "--from", layout, "--store", target, "--json", cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == image.digest
    assert not list((target / "partial").iterdir())


def test_from_a_registry_only_the_registry_is_asked(
    built: Any, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, store, image = built
    archive_image(store, image.digest)
    push(store, image.digest, parse_reference(f"{host}/small:1"))

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a client was asked")

    monkeypatch.setattr("reprise.artifacts.sources.pip_configuration", refuse)
    monkeypatch.setattr("reprise.artifacts.sources.apt_session", refuse)
    monkeypatch.setattr("reprise.artifacts.sources.configured_mirrors", refuse)
    fresh = Store.open(tmp_path / "fresh")
    with archived_places(f"{host}/small:1", fresh) as places:
        assert build_environment(project, NAME, fresh, places=places).digest == image.digest


def test_an_artifact_that_is_missing_offline_is_named_with_what_to_do(
    built: Any, offline: Command, tmp_path: Path
) -> None:
    project, _, _ = built
    done = offline("build", NAME, "--offline", "--store", tmp_path / "fresh", cwd=project.root)
    assert done.returncode == 69
    assert "lacks pkg:" in done.stderr and "(sha256:" in done.stderr
    assert "--from" in done.stderr and "reprise archive" in done.stderr
    assert done.stderr.count("error:") == 1


def test_a_place_that_lacks_one_artifact_or_has_it_wrong_is_named(built: Any, tmp_path: Path) -> None:
    project, store, _ = built
    artifact = load_lock(project, NAME).artifacts[0]
    layout = Store.open(tmp_path / "layout")
    give_artifacts(store, layout, [each.digest for each in load_lock(project, NAME).artifacts])
    layout.path(artifact.digest).write_bytes(b"rotten")
    said = refused(project, layout.root, tmp_path / "a")
    assert artifact.purl in said and "received sha256:" in said
    layout.path(artifact.digest).unlink()
    said = refused(project, layout.root, tmp_path / "b")
    assert artifact.purl in said and str(layout.root) in said


def refused(project: Project, layout: Path, store: Path) -> str:
    """What a build from `layout` into a new store says."""
    fresh = Store.open(store)
    with archived_places(str(layout), fresh) as places, pytest.raises(UnavailableError) as caught:
        build_environment(project, NAME, fresh, places=places)
    return caught.value.message


@pytest.mark.parametrize("place", ["/nonexistent", "torch-cpu", "pyproject.toml", "."])
def test_a_place_that_is_none_is_refused(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with archived_places(place, Store.open(tmp_path / "s")) as places, pytest.raises(InputError):
        places()


def test_an_image_whose_artifact_is_gone_or_rotten_gets_no_archive(built: Any, tmp_path: Path) -> None:
    project, store, image = built
    copy = tmp_path / "copy"
    shutil.copytree(store.root, copy, ignore=shutil.ignore_patterns("cache"))
    artifact = load_lock(project, NAME).artifacts[0]
    path = Store(copy).path(artifact.digest)
    path.write_bytes(b"rotten")
    with pytest.raises(InputError, match="damaged"):
        archive_image(Store(copy), image.digest)
    path.unlink()
    with pytest.raises(NotFoundError, match="which the archive has to hold"):
        archive_image(Store(copy), image.digest)


def test_the_host_wheels_install_without_an_index_and_reprise_runs_from_them(tmp_path: Path, built: Any) -> None:
    wheels = tmp_path / "host"
    wheels.mkdir()
    for name, data in host_wheels():
        (wheels / name).write_bytes(data)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--no-index", "--find-links", wheels, "reprise"]
    done = subprocess.run(["unshare", "--net", *map(str, install)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    project, store, image = built
    run = [tmp_path / "venv" / "bin" / "reprise", "build", NAME, "--offline", "--store", store.root, "--json"]
    done = subprocess.run(["unshare", "--net", *map(str, run)], cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == image.digest
