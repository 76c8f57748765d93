"""Store → registry: `reprise push` against `skopeo copy`, cold and with nothing changed.

Both push the same image (the manifest, config and layers of torch-cpu, and nothing that refers to it) from the same OCI
layout to an empty registry of their own on loopback; then both push it again. `reprise` reads all of it back. Commands
are timed as users call them, start included. They take turns, and the best time of each counts, since other work on the
machine only ever adds.

Needs docker-registry and skopeo. Run: .venv/bin/python benchmarks/push_pull.py
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reprise.environments import build_environment
from reprise.project import Project
from reprise.store import Store

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
servers = importlib.import_module("servers")

ENVIRONMENT = "torch-cpu"
COLD_ROUNDS = 3
WARM_ROUNDS = 5
NEEDED = ("docker-registry", "skopeo")
LIMIT_SECONDS = 0.5
"""What a push of an unchanged image may take."""


def main() -> int:
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if missing := [tool for tool in NEEDED if shutil.which(tool) is None]:
        print(f"this benchmark needs {', '.join(missing)}; on Debian: scripts/test-tools", file=sys.stderr)
        return 69
    whole = Store.open()
    image = build_environment(Project.find(Path(__file__).parent), ENVIRONMENT, whole)
    cold: dict[str, list[float]] = {"reprise": [], "skopeo": []}
    warm: dict[str, list[float]] = {"reprise": [], "skopeo": []}
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        store = image_alone(whole, image.digest, Path(name, "store"))
        for number in range(COLD_ROUNDS):
            for tool in cold:
                folder = Path(name, f"{tool}-{number}")
                with servers.docker_registry(folder) as host:
                    command = push_command(tool, store, image.digest, f"{host}/bench/image:1")
                    shutil.rmtree(store.cache / "registries", ignore_errors=True)  # no memory of what it has
                    cold[tool].append(seconds(command))
                    warm[tool] += [seconds(command) for _ in range(WARM_ROUNDS)]
                    check_pushed(host, image.digest)
                shutil.rmtree(folder)
    size = sum(layer.size for layer in image.layers)
    print(f"{ENVIRONMENT}: {size / 1e6:,.0f} MB in {len(image.layers) + 1} layers, to a registry on loopback")
    for tool in cold:
        print(f"{tool:8} cold {min(cold[tool]):6.2f} s   unchanged {min(warm[tool]):6.2f} s")
    print(f"skopeo, cold {min(cold['skopeo']) / min(cold['reprise']):.2f}")
    print(f"skopeo, unchanged {min(warm['skopeo']) / min(warm['reprise']):.2f}")
    if min(warm["reprise"]) > LIMIT_SECONDS:
        print(f"a push of an unchanged image took more than {LIMIT_SECONDS} s", file=sys.stderr)
        return 1
    return 0


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


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])} … ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def check_pushed(host: str, digest: str) -> None:
    """The registry must have the image under its digest, whoever pushed it."""
    where = f"docker://{host}/bench/image:1"
    seen = subprocess.run(["skopeo", "inspect", "--tls-verify=false", where], capture_output=True, check=True)
    assert json.loads(seen.stdout)["Digest"] == digest


if __name__ == "__main__":
    sys.exit(main())
