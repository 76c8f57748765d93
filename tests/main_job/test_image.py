"""One lock, one image: the digest is a constant, however and how often it is built."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.build import FORMAT_LABEL, BuiltImage, build_image, trainer_source
from reprise.environments import LOCK_FILES, build_environment, load_lock
from reprise.image.source import source_archive
from reprise.layers import CompleteLayers, complete_layers
from reprise.lock.read import read_lock
from reprise.project import Project
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError

CHECKOUT = Path(__file__).parents[2]
LARGE = ("torch-cuda",)
"""Environments of gigabytes: `make test-all` builds them."""

ENVIRONMENTS = [
    pytest.param(name, marks=[pytest.mark.long, pytest.mark.timeout(1800)] if name in LARGE else [])
    for name in Project(CHECKOUT).environments
]


def stocked_store(root: Path, full: Store) -> Store:
    """A store that holds the artifacts of `full` (as links) and nothing that was built from them."""
    store = Store.open(root)
    lock = json.loads((CHECKOUT / "locks/torch-cpu/conda-lock.yml").read_bytes())
    debian = json.loads((CHECKOUT / "locks/torch-cpu/debian.lock.json").read_bytes())
    hashes = [entry["hash"]["sha256"] for entry in lock["package"]]
    for name in hashes + [entry["sha256"] for entry in debian["packages"]]:
        (root / "blobs" / "sha256" / name).hardlink_to(full.path(f"sha256:{name}"))
    return store


def written(store: Store) -> dict[str, int]:
    """Every file of a store but locks, with its time."""
    return {
        str(path): path.stat().st_mtime_ns
        for path in store.root.rglob("*")
        if path.is_file() and not path.name.endswith("lock")
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_lock_gives_the_committed_environment_digest(name: str, built: Callable[[str], BuiltImage]) -> None:
    """If this fails, the bytes of an image have moved. Did its lock or its configuration change? Then name that in
    CHANGELOG.md under Bytes, and commit the new digest. Do layers have other bytes? Then that is a new image format
    (reprise/image/formats.py), and this lock keeps its own. Was neither meant? `git bisect` with this test."""
    committed = (CHECKOUT / "locks" / name / "environment.digest").read_text().strip()
    assert built(name).environment_digest == committed


def test_a_build_from_nothing_but_artifacts_gives_the_same_image(
    project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    again = build_environment(project, "torch-cpu", stocked_store(tmp_path / "store", shared_store), workers=1)
    assert again.built == len(again.layers) == len(torch_cpu.layers)
    assert again.digest == torch_cpu.digest


def test_building_again_writes_nothing(project: Project, shared_store: Store, torch_cpu: BuiltImage) -> None:
    before = written(shared_store)
    again = build_environment(project, "torch-cpu", shared_store)
    assert (again.built, again.digest) == (0, torch_cpu.digest)
    assert written(shared_store) == before


def test_a_change_of_the_trainer_moves_one_layer(
    project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    changed = tmp_path / "reprise_trainer"
    shutil.copytree(CHECKOUT / "trainer" / "reprise_trainer", changed)
    (changed / "errors.py").open("a").write(f"# one line more: {secrets.token_hex(8)}\n")
    files = locked_files(project)
    new = build_image(load_lock(project, "torch-cpu"), files, source_archive(changed), shared_store, tag="changed")
    assert new.built == 1
    assert new.digest != torch_cpu.digest and new.environment_digest == torch_cpu.environment_digest
    assert [layer.digest for layer in new.layers[:-1]] == [layer.digest for layer in torch_cpu.layers[:-1]]


def test_a_changed_wheel_moves_its_layer_alone_and_adds_one_large_blob(
    project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    """NumPy's wheel gets one file more: its layer alone is built, and only its blob and documents are new."""
    lock, store = load_lock(project, "torch-cpu"), whole_copy(shared_store, tmp_path / "store")
    (numpy,) = (each for each in lock.artifacts if each.name == "numpy")
    wheel = tmp_path / numpy.file_name
    shutil.copyfile(store.path(numpy.digest), wheel)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("numpy/_patched.py", f"TOKEN = {secrets.token_hex(8)!r}\n")
    changed = replace(numpy, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    store.add_file(wheel, changed.digest)
    artifacts = tuple(changed if each is numpy else each for each in lock.artifacts)
    before = blobs(store)
    relocked = replace(lock, artifacts=artifacts, digest=f"sha256:{changed.sha256}")
    new = build_image(relocked, locked_files(project), trainer_source(), store)
    assert new.built == 1
    moved = [one.name for one, other in zip(new.layers, torch_cpu.layers, strict=True) if one != other]
    assert moved == ["numpy"]
    (layer,) = (each for each in new.layers if each.name == "numpy")
    added = blobs(store) - before
    assert {layer.digest.removeprefix("sha256:"), layer.list_digest.removeprefix("sha256:")} <= added
    sizes = sorted(store.path(f"sha256:{name}").stat().st_size for name in added)
    assert sizes[-1] == layer.size and sum(sizes[:-1]) < 2_000_000


def test_another_order_of_lines_in_the_lock_builds_nothing(
    project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    folder = tmp_path / "torch-cpu"
    shutil.copytree(project.lock_folder("torch-cpu"), folder)
    for name, key in (("conda-lock.yml", "package"), ("debian.lock.json", "packages")):
        document = json.loads((folder / name).read_bytes())
        document[key].reverse()
        (folder / name).write_text(json.dumps(dict(reversed(document.items()))))
    plan = json.loads((folder / "layers.json").read_bytes())
    for layer in plan["layers"]:
        layer["artifacts"].reverse()
    (folder / "layers.json").write_text(json.dumps(plan))
    lock = read_lock(folder, project.environment_file("torch-cpu"))
    complete = complete_layers(lock, trainer_source(), shared_store)
    assert (complete.built, complete.layers) == (0, torch_cpu.layers)


def test_an_image_names_its_format_once_there_is_more_than_one(
    project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The label makes the format part of config, inventory and digest; format 1 is older than the label."""
    store = whole_copy(shared_store, tmp_path / "store")
    monkeypatch.setattr("reprise.build.complete_layers", lambda *_, **__: CompleteLayers(torch_cpu.layers, (), 0))
    lock = replace(load_lock(project, "torch-cpu"), format=2)
    new = build_image(lock, locked_files(project), trainer_source(), store, tag="changed")
    labels = []
    for digest in (torch_cpu.digest, torch_cpu.environment_digest, new.digest, new.environment_digest):
        config = json.loads(store.read(store.manifest(digest)["config"]["digest"]))
        labels.append(config["config"]["Labels"].get(FORMAT_LABEL))
    assert labels == [None, None, "2", "2"]


def whole_copy(store: Store, root: Path) -> Store:
    """All that a store holds, as links: nothing writes into a file that is there."""
    shutil.copytree(store.root, root, copy_function=os.link, symlinks=True)
    return Store.open(root)


def locked_files(project: Project) -> dict[str, bytes]:
    return {name: (project.lock_folder("torch-cpu") / name).read_bytes() for name in LOCK_FILES}


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs" / "sha256").iterdir()}


def _build(root: Path, queue: multiprocessing.Queue[str]) -> None:
    queue.put(build_environment(Project(CHECKOUT), "torch-cpu", Store.open(root), workers=1).digest)


def test_two_builds_at_once_on_one_store_agree(shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path) -> None:
    stocked_store(tmp_path / "store", shared_store)
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[str] = context.Queue()
    builds = [context.Process(target=_build, args=(tmp_path / "store", queue)) for _ in range(2)]
    for build in builds:
        build.start()
    assert [queue.get(timeout=300) for _ in builds] == [torch_cpu.digest] * 2
    for build in builds:
        build.join(10)


def test_a_build_killed_again_and_again_ends_with_the_same_image(
    shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    stocked = stocked_store(root, shared_store)
    command = [sys.executable, "-m", "reprise", "build", "torch-cpu", "--store", str(root), "--json"]
    for delay in (0.5, 1.5, 3.0):
        build = subprocess.Popen(command, cwd=CHECKOUT, start_new_session=True, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        os.killpg(build.pid, signal.SIGKILL)
        build.wait()
        for blob in (root / "blobs" / "sha256").iterdir():
            assert blob.name.startswith(".") or blob.stat().st_nlink > 1 or _is_whole(blob)
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["digest"] == torch_cpu.digest
    assert not list((stocked.root / "partial").iterdir())


def _is_whole(blob: Path) -> bool:
    return sha256_digest(blob.read_bytes()) == f"sha256:{blob.name}"


def test_an_artifact_with_wrong_bytes_in_the_store_is_refused_not_built(
    project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    """A blob that rotted on disk: the layer that would come of it must not get into an image."""
    stocked = stocked_store(tmp_path / "store", shared_store)
    lock = json.loads((CHECKOUT / "locks/torch-cpu/conda-lock.yml").read_bytes())
    name = next(entry["hash"]["sha256"] for entry in lock["package"] if entry["name"] == "filelock")
    blob = stocked.root / "blobs" / "sha256" / name
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    with pytest.raises(InputError, match=f"{name}.*damaged"):
        build_environment(project, "torch-cpu", stocked)
