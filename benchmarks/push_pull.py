"""Store → registry and registry → runnable root, beside the tools that others use for it.

Push: `reprise push` against `skopeo copy`, cold and with nothing changed. Both push the same image (the manifest,
config and layers of torch-cpu, and nothing that refers to it) from the same OCI layout to an empty registry of their
own on loopback; then both push it again. `reprise` reads all of it back.

Pull: `reprise pull --unpack` against `docker pull` (the benchmark's own daemon) and `skopeo copy` with `umoci raw
unpack`, from one registry on loopback to a root that can be run, each into nothing. Debian 12's Docker and umoci can't
read zstd, so they pull the same image with gzip layers. `skopeo-tar` is GNU tar on our zstd layers; it compares no
digest. Last, one line of the trainer is changed: what a push and a pull move then, and how long they take.

Commands are timed as users call them, start included. They take turns, and the best time of each counts, since other
work on the machine only ever adds. The processor's seconds (docker's with its daemon, from its start to its end) say
more on a machine that others use.

What a turn left is removed when all have had theirs: ext4 takes no inode again that was freed in the last minutes, and
passes over each of them whenever a file is made, so whoever comes next would pay for it (0.85 ms a file were seen,
against 0.03). For the same reason a disk on which much was just removed is no place to measure; one of its own is:
`truncate -s 30G disk && mkfs.ext4 disk && mount -o loop disk DIR`.

Needs docker-registry, skopeo, docker and umoci.
Run: .venv/bin/python benchmarks/push_pull.py [--folder DIR] [push] [pull] [change]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from peers.pulls import docker_pull, gzip_image, processor_seconds, seconds, skopeo_and_tar, skopeo_and_umoci

import reprise_trainer
from reprise.build import build_image
from reprise.environments import ENVIRONMENT_FILE, LOCK_FILES, build_environment, load_lock
from reprise.image.source import source_archive
from reprise.project import Project
from reprise.store import Store

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
servers = importlib.import_module("servers")

ENVIRONMENT = "torch-cpu"
COLD_ROUNDS = 3
WARM_ROUNDS = 5
NEEDED = ("docker-registry", "skopeo", "dockerd", "docker", "umoci")
PARTS = ("push", "pull", "change")
UNCHANGED_SECONDS = 0.5
"""What a push of an unchanged image may take."""
CHANGED_SECONDS, CHANGED_BYTES = 1.0, 1_000_000
"""What a push and a pull of an image with one changed trainer layer may take, and move."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Push and pull, beside docker and skopeo.")
    parser.add_argument("--folder", type=Path, help="where everything is written; a RAM disk leaves the disk out of it")
    parser.add_argument("parts", nargs="*", metavar="PART", default=list(PARTS))
    asked = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if missing := [tool for tool in NEEDED if shutil.which(tool) is None]:
        print(f"this benchmark needs {', '.join(missing)} (Debian: scripts/test-tools, and umoci)", file=sys.stderr)
        return 69
    whole, project = Store.open(), Project.find(Path(__file__).parent)
    image = build_environment(project, ENVIRONMENT, whole)
    size = sum(layer.size for layer in image.layers)
    print(f"{ENVIRONMENT}: {size / 1e6:,.0f} MB in {len(image.layers) + 1} layers, registry on loopback")
    too_much: list[str] = []
    with tempfile.TemporaryDirectory(prefix="reprise-bench-", dir=asked.folder) as name:
        store = image_alone(whole, image.digest, Path(name, "store"))
        if "push" in asked.parts:
            too_much += compare_pushes(store, image.digest, Path(name))
        if "pull" in asked.parts:
            compare_pulls(store, image.digest, Path(name))
        if "change" in asked.parts:
            too_much += change_one_line(project, whole, image.digest, Path(name))
    for each in too_much:
        print(each, file=sys.stderr)
    return 1 if too_much else 0


def compare_pushes(store: Store, digest: str, folder: Path) -> list[str]:
    cold: dict[str, list[float]] = {"reprise": [], "skopeo": []}
    warm: dict[str, list[float]] = {"reprise": [], "skopeo": []}
    for number in range(COLD_ROUNDS):
        for tool in cold:
            place = folder / f"{tool}-{number}"
            with servers.docker_registry(place) as host:
                command = push_command(tool, store, digest, f"{host}/bench/image:1")
                shutil.rmtree(store.cache / "registries", ignore_errors=True)  # no memory of what it has
                cold[tool].append(seconds(command))
                warm[tool] += [seconds(command) for _ in range(WARM_ROUNDS)]
                check_pushed(host, digest)
            shutil.rmtree(place)
    for tool in cold:
        print(f"push, {tool:8} cold {min(cold[tool]):6.2f} s   unchanged {min(warm[tool]):6.2f} s")
    print(f"skopeo-push {min(cold['skopeo']) / min(cold['reprise']):.2f}")
    print(f"skopeo-push-unchanged {min(warm['skopeo']) / min(warm['reprise']):.2f}")
    late = min(warm["reprise"]) > UNCHANGED_SECONDS
    return [f"a push of an unchanged image took more than {UNCHANGED_SECONDS} s"] if late else []


def compare_pulls(store: Store, digest: str, folder: Path) -> None:
    packed = Store.open(folder / "gzip")
    packed_digest = gzip_image(store, digest, packed)
    with servers.docker_registry(folder / "registry") as host:
        zstd, gzipped = f"{host}/bench/image:1", f"{host}/bench/gzip:1"
        seconds(push_command("reprise", store, digest, zstd))
        seconds(push_command("reprise", packed, packed_digest, gzipped))
        tools: dict[str, Callable[[Path], float]] = {
            "reprise": lambda place: pull(zstd, place)[0],
            "docker-pull": lambda place: _docker(gzipped, place),
            "skopeo": lambda place: skopeo_and_umoci(gzipped, place),
            "skopeo-tar": lambda place: skopeo_and_tar(zstd, place),
        }
        taken: dict[str, list[float]] = {tool: [] for tool in tools}
        busy: dict[str, list[float]] = {tool: [] for tool in tools}
        for number in range(COLD_ROUNDS):
            for tool, run in tools.items():
                before = processor_seconds()
                taken[tool].append(run(folder / f"{tool}-{number}"))
                busy[tool].append(processor_seconds() - before)
            for tool in tools:
                shutil.rmtree(folder / f"{tool}-{number}")
    for tool, times in taken.items():
        print(f"pull, {tool:12} {min(times):6.2f} s, processor {min(busy[tool]):5.2f} s")
    for tool in tools.keys() - {"reprise"}:
        print(f"{tool} {min(taken[tool]) / min(taken['reprise']):.2f}")


def change_one_line(project: Project, whole: Store, digest: str, folder: Path) -> list[str]:
    """Push and pull an image, then the same with one line of the trainer changed."""
    changed = changed_image(project, whole, folder)
    place = folder / "host"
    with servers.docker_registry(folder / "changing") as host:
        reference = f"{host}/bench/image:1"
        seconds(push_command("reprise", image_alone(whole, digest, folder / "before"), digest, reference))
        pull(reference, place)
        after = image_alone(whole, changed, folder / "after")
        taken, sent = run_json(push_command("reprise", after, changed, reference))
        pulled, came = pull(reference, place)
    print(f"one trainer line changed: push {taken:.2f} s, {sent['bytes']:,} bytes; pull {pulled:.2f} s, {came:,} bytes")
    too_much = max(taken, pulled) > CHANGED_SECONDS or max(sent["bytes"], came) > CHANGED_BYTES
    return [f"one changed layer took more than {CHANGED_SECONDS} s, or {CHANGED_BYTES} bytes"] if too_much else []


def changed_image(project: Project, store: Store, folder: Path) -> str:
    """The image with one line more in the trainer."""
    trainer = folder / "trainer" / "reprise_trainer"
    source = Path(reprise_trainer.__file__).parent
    shutil.copytree(source, trainer, ignore=shutil.ignore_patterns("__pycache__"))
    with (trainer / "errors.py").open("a") as file:
        file.write(f"# {os.urandom(8).hex()}\n")
    locked = project.lock_folder(ENVIRONMENT)
    files = {name: (locked / name).read_bytes() for name in LOCK_FILES}
    files[ENVIRONMENT_FILE] = project.environment_file(ENVIRONMENT).read_bytes()
    return build_image(load_lock(project, ENVIRONMENT), files, source_archive(trainer), store).digest


def pull(reference: str, store: Path) -> tuple[float, int]:
    """Seconds of `reprise pull --unpack` into a store, and the bytes that came."""
    program = str(Path(sys.executable).with_name("reprise"))
    taken, document = run_json([program, "pull", reference, "--unpack", "--store", str(store), "--json"])
    return taken, int(document["bytes"])


def run_json(command: list[str]) -> tuple[float, dict[str, int]]:
    out: list[str] = []
    taken = seconds(command, output=out)
    document: dict[str, int] = json.loads(out[0])
    return taken, document


def _docker(reference: str, place: Path) -> float:
    with servers.dockerd(place) as address:
        return docker_pull(address, reference)


def image_alone(whole: Store, digest: str, folder: Path) -> Store:
    """A store that holds an image, and nothing that refers to it."""
    store = Store.open(folder)
    manifest = whole.manifest(digest)
    for blob in (manifest["config"], *manifest["layers"]):
        copy = store.partial(blob["digest"])
        shutil.copyfile(whole.path(blob["digest"]), copy)
        store.add_file(copy, blob["digest"])
    store.put_manifest(whole.read(digest), tag=ENVIRONMENT)
    return store


def push_command(tool: str, store: Store, digest: str, reference: str) -> list[str]:
    if tool == "reprise":
        program = str(Path(sys.executable).with_name("reprise"))
        return [program, "push", digest, reference, "--store", str(store.root), "--json"]
    source = f"oci:{store.root}:{ENVIRONMENT}"
    return ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", source, f"docker://{reference}"]


def check_pushed(host: str, digest: str) -> None:
    """The registry must have the image under its digest, whoever pushed it."""
    where = f"docker://{host}/bench/image:1"
    seen = subprocess.run(["skopeo", "inspect", "--tls-verify=false", where], capture_output=True, check=True)
    assert json.loads(seen.stdout)["Digest"] == digest


if __name__ == "__main__":
    sys.exit(main())
