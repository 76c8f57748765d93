"""From artifacts on disk to an image in a registry, nothing cached: `reprise build` and a push against docker's,
podman's and the floor.

All start from the same Debian files, wheels and trainer, and push to a registry of their own on loopback. The base of
docker's and podman's image arrives unpacked (ours unpacks Debian's packages, and the interpreter that it builds with),
and pip resolves nothing and asks no index. (A Dockerfile whose wheels come over loopback, so that no layer holds them,
took as long: 85 s to 81 s.) podman builds as it is fastest: overlay storage, no container around pip (`--isolation
chroot`), and zstd for the push. The floor (floor.py) is the least work on the same bytes, on all cores, under the same
Python, with nothing written or sent. Each round starts with empty stores, and all take turns; each one's best time
counts, since other work on the machine only ever adds. Processor time is shown beside it: it says how busy the machine
was with other things.

Needs root, dockerd, docker, podman and docker-registry. Run:
.venv/bin/python benchmarks/build_image.py [ROUNDS [PEER …]]
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from reprise.environments import fetch_environment
from reprise.image.bootstrap import BUILDER_ENVIRONMENT, ImagePython, image_python, starts_python
from reprise.lock.model import Artifact, Lock
from reprise.project import Project
from reprise.store import Store

FOLDER = Path(__file__).parent
sys.path.append(str(FOLDER.parent / "tests" / "support"))
sys.path.append(str(FOLDER / "peers"))
servers = importlib.import_module("servers")
context_of = importlib.import_module("context")

ENVIRONMENT = "torch-cpu"
ROUNDS = 2
NEEDED = ("dockerd", "docker", "podman", "docker-registry")


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
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        folder = Path(name)
        context = folder / "context"
        context_of.write_context(context, lock, store)
        python = locked_python(lock, store)
        run_once: dict[str, Callable[[Path], Times]] = {
            "reprise": lambda place: ours(place, lock, store, project),
            "floor": lambda _: floor(python, lock, store),
            "docker": lambda place: docker(place, context, lock),
            "podman": lambda place: podman(place, context, lock),
        }
        chosen = [each for each in run_once if each in ("reprise", *sys.argv[2:]) or len(sys.argv) < 3]
        times: dict[str, list[Times]] = {each: [] for each in chosen}
        for number in range(rounds):
            for each in chosen:
                times[each].append(run_once[each](folder / f"{each}-{number}"))
                print(f"round {number + 1}: {each:8} {times[each][-1]}", file=sys.stderr)
    show(times, lock)
    return 0


def show(times: Mapping[str, Sequence[Times]], lock: Lock) -> None:
    """The best time of each, and how often our time goes into each peer's."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{ENVIRONMENT}: {len(lock.artifacts)} artifacts on disk to an image in a registry")
    print(f"{cores} cores, load {load:.1f} at the end, {len(times['reprise'])} rounds in turns")
    best = {name: min(rounds, key=lambda each: each.total) for name, rounds in times.items()}
    for name, each in best.items():
        print(f"{name:8} best {each}")
    for name in best.keys() - {"reprise"}:
        print(f"{name} {best[name].total / best['reprise'].total:.2f}")


@dataclass(frozen=True)
class Times:
    """Seconds of a build and of its push, and processor seconds of both where it is our child that works."""

    build: float
    push: float = 0.0
    processor: float = 0.0

    @property
    def total(self) -> float:
        return self.build + self.push

    def __str__(self) -> str:
        return (
            f"{self.total:6.1f} s  (build {self.build:.1f} s, push {self.push:.1f} s, processor {self.processor:.1f} s)"
        )


def processor_seconds() -> float:
    """Of all processes that we started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ours(folder: Path, lock: Lock, store: Store, project: Project) -> Times:
    """Seconds of `reprise build` in a store that holds nothing but the artifacts, and of the push."""
    fresh = Store.open(folder / "store")
    for artifact in lock.artifacts:
        copy = folder / "artifact"
        shutil.copyfile(store.path(artifact.digest), copy)
        fresh.add_file(copy, artifact.digest)
    os.sync()
    with servers.docker_registry(folder) as host:
        processor, started = processor_seconds(), time.perf_counter()
        program = str(Path(sys.executable).with_name("reprise"))
        built = json.loads(run([program, "build", ENVIRONMENT, "--store", str(fresh.root), "--json"], cwd=project.root))
        assert built["built"] == len(built["layers"]), "a layer came from a cache"
        middle = time.perf_counter()
        processor = processor_seconds() - processor  # the build's: the push happens in this process
        push(fresh, built["digest"], host, "ours")
        done = time.perf_counter()
        check_pushed(host, "ours", built["digest"])
    shutil.rmtree(folder)
    return Times(middle - started, done - middle, processor)


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


def docker(folder: Path, context: Path, lock: Lock) -> Times:
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
        check_installed(["docker", "run", "--rm", "--network=none"], tag, lock, environment)
    shutil.rmtree(folder)
    return Times(middle - started, done - middle)


def podman(folder: Path, context: Path, lock: Lock) -> Times:
    """Seconds of `podman build` with empty storage, and of `podman push`."""
    with tempfile.TemporaryDirectory(prefix="podman-") as short, servers.docker_registry(folder) as host:
        storage = ["podman", "--root", f"{folder}/storage", "--runroot", short, "--storage-driver", "overlay"]
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # machines may forbid to raise them
        tag = f"{host}/podman:bench"
        processor, started = processor_seconds(), time.perf_counter()
        plain = ["build", "-q", "--no-cache", "--network=host", "--isolation=chroot", "--ulimit", "nofile=1024:1024"]
        run([*storage, *plain, "-t", tag, str(context)])
        middle = time.perf_counter()
        run([*storage, "push", "-q", "--tls-verify=false", "--compression-format", "zstd", tag])
        done = time.perf_counter()
        processor = processor_seconds() - processor
        check_pushed(host, "podman", "bench")
        check_installed([*storage, "run", "--rm", "--network=none", *limits], tag, lock)
        if (folder / "storage" / "overlay").is_mount():  # podman leaves it mounted
            run(["umount", f"{folder}/storage/overlay"])
    shutil.rmtree(folder)
    return Times(middle - started, done - middle, processor)


def floor(python: ImagePython, lock: Lock, store: Store) -> Times:
    """Seconds of the least work on the same bytes."""
    main = [artifact for artifact in lock.artifacts if artifact.category == "main"]
    job = {
        "zips": [str(store.path(each.digest)) for each in main if each.kind == "wheel"],
        "debs": [str(store.path(each.digest)) for each in main if each.kind == "deb"],
        "cores": len(os.sched_getaffinity(0)),
    }
    start = f"import sys; sys.path.append({str(python.packages)!r}); sys.path.append({str(FOLDER / 'peers')!r})"
    processor, started = processor_seconds(), time.perf_counter()
    run([*python.argv, "-c", f"{start}; import floor; floor.main()"], dict(BUILDER_ENVIRONMENT), text=json.dumps(job))
    return Times(time.perf_counter() - started, 0.0, processor_seconds() - processor)


def locked_python(lock: Lock, store: Store) -> ImagePython:
    """The image's own Python with its tools, unpacked."""

    def files(artifacts: Sequence[Artifact]) -> list[tuple[str, Path]]:
        return [(each.sha256, store.path(each.digest)) for each in artifacts]

    tools = sorted((each for each in lock.artifacts if each.category == "build"), key=lambda each: -len(each.name))
    debs = [each for each in lock.artifacts if each.kind == "deb" and starts_python(each.name)]
    return image_python(files(debs), files(tools)[0], store.cache / "python", files(tools)[1:])


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


def check_installed(start: list[str], tag: str, lock: Lock, environment: dict[str, str] | None = None) -> None:
    """A peer's image must have installed the wheels of the lock, so that both images hold the same."""
    names = (
        "import importlib.metadata as m; print(*sorted({d.name.lower().replace('_', '-') for d in m.distributions()}))"
    )
    command = [*start, "--entrypoint", "/usr/bin/python3.11", tag, "-I", "-c", names]
    locked = {each.name for each in lock.artifacts if each.kind == "wheel" and each.category == "main"}
    assert set(run(command, environment).split()) == locked


def succeeds(command: list[str], environment: dict[str, str]) -> bool:
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0


def run(command: list[str], environment: dict[str, str] | None = None, cwd: Path | None = None, text: str = "") -> str:
    done = subprocess.run(command, env=environment, cwd=cwd, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:6])} … ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
