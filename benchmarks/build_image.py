"""From artifacts on disk to an image in a registry, nothing cached: `reprise build` and a push against docker's.

Both start from the same Debian files, wheels and trainer, and push to a registry of their own on loopback. docker's
base arrives unpacked (ours unpacks Debian's packages, and the interpreter that it builds with), and pip resolves
nothing and asks no index. (A Dockerfile whose wheels come over loopback, so that no layer holds them, took as long:
85 s to 81 s.) Each round starts with empty stores, and the two take turns; each one's best time counts, since
other work on the machine only ever adds.

Needs root, dockerd, docker and docker-registry. Run: .venv/bin/python benchmarks/build_image.py
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

import reprise_trainer
from reprise.environments import fetch_environment
from reprise.image.base import base_entries
from reprise.image.deb import read_deb
from reprise.image.entries import merge
from reprise.lock.model import Lock
from reprise.project import Project
from reprise.store import Store

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
servers = importlib.import_module("servers")

ENVIRONMENT = "torch-cpu"
ROUNDS = 2
NEEDED = ("dockerd", "docker", "docker-registry")
PACKAGES = "/usr/local/lib/python3.11/dist-packages"


def main() -> int:
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if missing := [tool for tool in NEEDED if shutil.which(tool) is None]:
        print(f"this benchmark needs {', '.join(missing)}; on Debian: scripts/test-tools", file=sys.stderr)
        return 69
    if os.geteuid() != 0:
        print("this benchmark starts a docker daemon of its own, which needs root", file=sys.stderr)
        return 71
    project = Project.find(Path(__file__).parent)
    store = Store.open()
    lock, _ = fetch_environment(project, ENVIRONMENT, store)
    times: dict[str, list[tuple[float, float]]] = {"reprise": [], "docker": []}
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        folder = Path(name)
        write_context(folder / "context", lock, store)
        for number in range(ROUNDS):
            times["reprise"].append(ours(folder / f"reprise-{number}", lock, store, project))
            times["docker"].append(docker(folder / f"docker-{number}", folder / "context", lock))
    cores = len(os.sched_getaffinity(0))
    print(f"{ENVIRONMENT}: {len(lock.artifacts)} artifacts on disk to an image in a registry, {cores} cores")
    for name, rounds in times.items():
        build, push = min(rounds, key=sum)
        print(f"{name:8} best {build + push:6.1f} s  (build {build:.1f} s, push {push:.1f} s)")
    print(f"docker {min(map(sum, times['docker'])) / min(map(sum, times['reprise'])):.2f}")
    return 0


def ours(folder: Path, lock: Lock, store: Store, project: Project) -> tuple[float, float]:
    """Seconds of `reprise build` in a store that holds nothing but the artifacts, and of the push."""
    fresh = Store.open(folder / "store")
    for artifact in lock.artifacts:
        copy = folder / "artifact"
        shutil.copyfile(store.path(artifact.digest), copy)
        fresh.add_file(copy, artifact.digest)
    os.sync()
    with servers.docker_registry(folder) as host:
        started = time.perf_counter()
        program = str(Path(sys.executable).with_name("reprise"))
        built = json.loads(run([program, "build", ENVIRONMENT, "--store", str(fresh.root), "--json"], cwd=project.root))
        assert built["built"] == len(built["layers"]), "a layer came from a cache"
        middle = time.perf_counter()
        push(fresh, built["digest"], host, "ours")
        done = time.perf_counter()
        check_pushed(host, "ours", built["digest"])
    shutil.rmtree(folder)
    return middle - started, done - middle


def push(store: Store, digest: str, host: str, repository: str) -> None:
    """Upload an image's blobs, four at a time, and then its manifest (OCI distribution spec v1.1, "Push")."""
    manifest = store.read(digest)
    document = json.loads(manifest)
    base = f"http://{host}/v2/{repository}"

    def upload(blob: dict[str, Any]) -> None:
        start = requests.post(f"{base}/blobs/uploads/", timeout=60)
        start.raise_for_status()
        with store.path(blob["digest"]).open("rb", buffering=1 << 20) as data:
            headers = {"Content-Length": str(blob["size"]), "Content-Type": "application/octet-stream"}
            where = start.headers["Location"]
            done = requests.put(where, params={"digest": blob["digest"]}, data=data, headers=headers, timeout=600)
            done.raise_for_status()

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(upload, sorted([document["config"], *document["layers"]], key=lambda blob: -blob["size"])))
    headers = {"Content-Type": document["mediaType"]}
    requests.put(f"{base}/manifests/{digest}", data=manifest, headers=headers, timeout=60).raise_for_status()


def docker(folder: Path, context: Path, lock: Lock) -> tuple[float, float]:
    """Seconds of `docker build` with a new daemon, and of `docker push`."""
    folder.mkdir()
    with servers.docker_registry(folder) as host, servers.dockerd(folder) as address:
        environment = {**os.environ, "DOCKER_HOST": address}
        if not succeeds(["docker", "buildx", "version"], environment):
            environment["DOCKER_BUILDKIT"] = "0"  # Debian's docker.io comes without BuildKit's client
        tag = f"{host}/docker:bench"
        started = time.perf_counter()
        run(["docker", "build", "-q", "--no-cache", "--network=host", "-t", tag, str(context)], environment)
        middle = time.perf_counter()
        run(["docker", "push", "-q", tag], environment)
        done = time.perf_counter()
        check_pushed(host, "docker", "bench")
        check_installed(tag, lock, environment)
    shutil.rmtree(folder)
    return middle - started, done - middle


def write_wheels(folder: Path, lock: Lock, store: Store) -> list[str]:
    """Copies of the lock's wheels, and their paths in an image that has `folder` as /wheels."""
    folder.mkdir(parents=True)
    names = []
    for artifact in lock.artifacts:
        if artifact.kind == "wheel" and artifact.category == "main":
            shutil.copyfile(store.path(artifact.digest), folder / artifact.file_name)
            names.append(f"/wheels/{artifact.file_name}")
    return names


def write_context(context: Path, lock: Lock, store: Store) -> None:
    """What docker builds from: the unpacked base, pip, the wheels, the trainer, a Dockerfile."""
    wheels = write_wheels(context / "wheels", lock, store)
    debs = [artifact for artifact in lock.artifacts if artifact.kind == "deb"]
    write_base(context / "base.tar", [(deb.purl, store.path(deb.digest)) for deb in debs])
    pip = importlib.util.find_spec("pip")
    assert pip is not None and pip.origin is not None
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(pip.origin).parent, context / "pip", ignore=ignore)
    shutil.copytree(Path(reprise_trainer.__file__).parent, context / "reprise_trainer", ignore=ignore)
    install = ["/usr/bin/python3.11", "/pip", "install", "--no-index", "--no-deps", "--no-cache-dir", "-q"]
    install += ["--break-system-packages", "--root-user-action=ignore", "--disable-pip-version-check"]
    lines = [
        "FROM scratch",
        "ADD base.tar /",
        "COPY pip /pip",
        "COPY wheels /wheels",
        f"RUN {json.dumps([*install, *wheels])}",
        f"COPY reprise_trainer {PACKAGES}/reprise_trainer",
        'ENTRYPOINT ["/usr/bin/python3.11", "-I", "-m", "reprise_trainer"]',
    ]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")


def write_base(path: Path, debs: list[tuple[str, Path]]) -> None:
    """The Debian files that our base and package layers hold, as one tar."""
    parts = [("base", base_entries()), *((purl, read_deb(deb, purl)) for purl, deb in debs)]
    with tarfile.open(path, "w") as tar:
        for entry in merge(parts):
            info = tarfile.TarInfo(entry.path)
            kinds = {"file": tarfile.REGTYPE, "directory": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}
            info.type, info.mode, info.size, info.linkname = kinds[entry.type], entry.mode, entry.size, entry.target
            tar.addfile(info, io.BytesIO(entry.read()))


def check_pushed(host: str, repository: str, reference: str) -> None:
    """The registry must give the manifest and have every blob that it names."""
    accept = {
        "Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    }
    manifest = requests.get(f"http://{host}/v2/{repository}/manifests/{reference}", headers=accept, timeout=60)
    manifest.raise_for_status()
    for blob in (manifest.json()["config"], *manifest.json()["layers"]):
        found = requests.head(f"http://{host}/v2/{repository}/blobs/{blob['digest']}", timeout=60)
        assert found.ok and int(found.headers["Content-Length"]) == blob["size"], blob


def check_installed(tag: str, lock: Lock, environment: dict[str, str]) -> None:
    """docker's image must have installed the wheels of the lock, so that both images hold the same."""
    names = (
        "import importlib.metadata as m; print(*sorted({d.name.lower().replace('_', '-') for d in m.distributions()}))"
    )
    command = ["docker", "run", "--rm", "--network=none", "--entrypoint", "/usr/bin/python3.11", tag, "-I", "-c", names]
    locked = {each.name for each in lock.artifacts if each.kind == "wheel" and each.category == "main"}
    assert set(run(command, environment).split()) == locked


def succeeds(command: list[str], environment: dict[str, str]) -> bool:
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def run(command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:6])} … ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
