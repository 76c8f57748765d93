"""One lock, one image, wherever it is built: other file systems, interpreters, containers, CPUs; in any order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from interpreters import host_environment
from servers import program
from tests.hostile.conftest import Same

from hostile import CHECKOUT, HOSTILE, OURS, SMALL, Outcome, Surroundings, build, stocked
from reprise.engine.flat_copy import flat_copy
from reprise.engine.interface import ImageRef
from reprise.engine.unpack import unpack_layers
from reprise.environments import load_lock
from reprise.store import Store

PATHS = os.pathsep.join(OURS)


@contextmanager
def mounted(command: list[str], place: Path) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run([*command, str(place)], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_the_bits_are_the_same_with_the_store_in_memory(
    artifacts: Store, plain: Outcome, same: Same, tmp_path: Path
) -> None:
    with mounted(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs"], tmp_path / "memory") as memory:
        outcome = build(tmp_path, stocked(memory / "store", artifacts), Surroundings())
        assert (outcome.saw["file_system"], plain.saw["file_system"] != "tmpfs") == ("tmpfs", True)
        same(outcome)


def test_the_bits_are_the_same_with_folders_in_reverse_order(artifacts: Store, same: Same, tmp_path: Path) -> None:
    """Sources, store and project are seen through disorderfs, which gives each folder's entries backwards."""
    inside = tmp_path / "plain order"
    for folder in (*OURS, SMALL.root):
        shutil.copytree(folder, inside / Path(folder).name, ignore=shutil.ignore_patterns("__pycache__"))
    stocked(inside / "store", artifacts)
    disorder = [program("disorderfs", "disorderfs"), "--multi-user=yes", "--reverse-dirents=yes", str(inside)]
    with mounted(disorder, tmp_path / "reversed") as turned:
        sources = turned / "trainer" / "reprise_trainer"
        around = Surroundings(
            environment={"PYTHONPATH": f"{turned}/containers:{turned}/trainer", "PYTHONSAFEPATH": "1"},
            command=(sys.executable, "-m", "reprise"),
            folder=turned,
            listed=sources,
        )
        outcome = build(tmp_path, Store(turned / "store"), around, project=turned / "project")
        straight = [path.name for path in (inside / "trainer" / "reprise_trainer").iterdir()]
        assert outcome.saw["listing"] == straight[::-1] != straight
        assert outcome.saw["file_system"] == "fuse.disorderfs"
        same(outcome)


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_bits_are_the_same_under_another_host_python(
    version: str, stock: Store, same: Same, tmp_path: Path
) -> None:
    python = str(host_environment(version))
    outcome = build(tmp_path, stock, Surroundings(command=(python, "-m", "reprise"), environment={"PYTHONPATH": PATHS}))
    assert outcome.saw["python"] == [int(part) for part in version.split(".")]
    same(outcome)


def test_the_bits_are_the_same_in_a_docker_container_of_the_image_itself(
    docker_daemon: str, plain: Outcome, stock: Store, same: Same, tmp_path: Path
) -> None:
    """The small image's own files become a container's, and its Python builds the image again, without network."""
    image = ImageRef(plain.store, plain.digest)
    root = flat_copy(image, unpack_layers(plain.store, image.layers()))
    docker = [program("docker", "docker.io"), "-H", docker_daemon]
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(
            [*docker, "import", "-", "reprise-small:test"], stdin=tar.stdout, check=True, capture_output=True
        )
    mounts = [f"{CHECKOUT}:{CHECKOUT}:ro", f"{tmp_path}:{tmp_path}", f"{sysconfig.get_path('purelib')}:/packages:ro"]
    options = ["--rm", "--network=none", "--env", f"PYTHONPATH={PATHS}:/packages", "--env", "HOME=/tmp"]
    options += [part for mount in mounts for part in ("--volume", mount)]
    around = Surroundings(
        prefix=(*docker, "run", *options, "--workdir", str(tmp_path), "reprise-small:test"),
        command=("/usr/bin/python3.11", "-m", "reprise"),
    )
    outcome = build(tmp_path, stock, around)
    assert outcome.saw["in_docker"] and not plain.saw["in_docker"]
    assert outcome.saw["hostname"] != plain.saw["hostname"]
    same(outcome)


def test_the_bits_are_the_same_when_artifacts_come_in_another_order(
    artifacts: Store, same: Same, tmp_path: Path
) -> None:
    """Once fetched by one worker from a folder that the environment names, the largest first; once put there, the
    smallest first."""
    locked = load_lock(SMALL, "small").artifacts
    fetched, put = Store.open(tmp_path / "fetched"), Store.open(tmp_path / "put")
    project = _project_with_files(tmp_path, artifacts)
    (tmp_path / "apt").mkdir()
    parts = (f'Dir::{part} "{tmp_path}/apt";\n' for part in ("Etc", "State", "Cache"))
    (tmp_path / "apt.conf").write_text("".join(parts))
    alone = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "APT_CONFIG": str(tmp_path / "apt.conf")}
    without = tuple(name for name in os.environ if name.startswith("PIP_"))
    around = Surroundings(unset=without, environment=alone, arguments=("--workers", "1"))
    for artifact in sorted(locked, key=lambda each: artifacts.path(each.digest).stat().st_size):
        put.add(artifacts.read(artifact.digest))
    outcomes = build(tmp_path, fetched, around, project=project), build(tmp_path, put, Surroundings())
    orders = [
        sorted((each.digest for each in locked), key=lambda one, store=store: store.path(one).stat().st_mtime_ns)
        for store in (fetched, put)
    ]
    assert orders[0] != orders[1]
    for outcome in outcomes:
        same(outcome)


def _project_with_files(folder: Path, artifacts: Store) -> Path:
    """The project, with one more source: a folder that has all artifacts."""
    files = folder / "files"
    files.mkdir()
    for artifact in load_lock(SMALL, "small").artifacts:
        (files / artifact.file_name).symlink_to(artifacts.path(artifact.digest))
    project = folder / "project"
    shutil.copytree(SMALL.root, project)
    toml = project / "containers/images/small.toml"
    toml.write_text(f'{toml.read_text()}\n[sources]\ndirectories = ["{files}"]\n')
    return project


def test_the_bits_are_the_same_with_a_cold_cache_half_a_cache_and_a_whole_one(
    stock: Store, same: Same, tmp_path: Path
) -> None:
    cold = build(tmp_path, stock, Surroundings())
    warm = build(tmp_path, stock, Surroundings())
    for record in sorted((stock.cache / "layers").iterdir())[::2]:
        record.unlink()
    half = build(tmp_path, stock, Surroundings())
    layers = len(cold.said["layers"])
    assert (cold.said["built"], warm.said["built"]) == (layers, 0) and 0 < half.said["built"] < layers
    for outcome in (cold, warm, half):
        same(outcome)


CPUS = {"EPYC": "0x2", "Nehalem": "0x1"}
"""Emulated CPUs of two makers, and what glibc's loader calls their makers (cpu-features.h: 1 Intel, 2 AMD)."""

EMULATOR_BREAKS = "qemu_plugin_vcpu_init_hook"
"""qemu's user-mode emulation up to 7.2 stops, now and then, when one thread starts while another ends."""


@pytest.mark.parametrize("cpu", CPUS)
def test_two_layers_are_the_same_on_an_emulated_cpu(cpu: str, plain: Outcome, same: Same, tmp_path: Path) -> None:
    """A layer of compiled sources and one of shared libraries are made in the emulator; the others were before."""
    store = Store(Path(shutil.copytree(plain.store.root, tmp_path / "copy", symlinks=True)))
    for layer in plain.said["layers"]:
        if layer["name"] in ("wheel-1", "trainer"):
            store.path(layer["digest"]).unlink()
    same(emulated(cpu, tmp_path, store))


@pytest.mark.long
@pytest.mark.parametrize("cpu", CPUS)
def test_the_whole_image_is_the_same_on_an_emulated_cpu(cpu: str, stock: Store, same: Same, tmp_path: Path) -> None:
    same(emulated(cpu, tmp_path, stock))


def emulated(cpu: str, work: Path, store: Store) -> Outcome:
    """Build with the builder in an emulator; what a broken attempt has finished stays in the store."""
    log = work / "log.json"
    command = (sys.executable, str(HOSTILE / "builder_under.py"), str(log), program("qemu-x86_64", "qemu-user"))
    around = Surroundings(
        prefix=("taskset", "-c", "0"),
        command=(*command, "-cpu", cpu, "--"),
        environment={"PYTHONPATH": PATHS},
        arguments=("--workers", "1"),
    )
    for attempts_left in reversed(range(40)):
        try:
            outcome = build(work, store, around)
            break
        except AssertionError as error:
            if EMULATOR_BREAKS not in str(error) or not attempts_left:
                raise
    assert outcome.said["built"] > 0
    assert json.loads(log.read_text())["cpu"]["x86.cpu_features.basic.kind"] == CPUS[cpu]
    return outcome
