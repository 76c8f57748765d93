"""How long a developer waits for a new image: after one line of the trainer changed, and after nothing changed.

Whole commands, as a person runs them (`reprise build torch-cpu`), on a store where everything else is built. The peer
does the same with Docker, as a Dockerfile usually says it: on top of the same environment image, already loaded,
`docker build` copies the trainer and compiles it.

    .venv/bin/python benchmarks/rebuild_image.py
"""

from __future__ import annotations

import importlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import docker

from reprise.engine.docker import load_image
from reprise.engine.interface import ImageRef
from reprise.environments import build_environment
from reprise.project import Project
from reprise.store import Store

CHECKOUT = Path(__file__).parents[1]
sys.path.append(str(CHECKOUT / "tests" / "support"))
servers = importlib.import_module("servers")
ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trainer = folder / "trainer"
        shutil.copytree(CHECKOUT / "trainer", trainer, ignore=shutil.ignore_patterns("__pycache__"))
        changed_file = trainer / "reprise_trainer" / "errors.py"
        build(trainer)
        with servers.dockerd(folder / "docker") as address:
            environment = {**os.environ, "DOCKER_HOST": address}
            base = load_environment(address)
            docker_build(trainer, base, environment)
            ours, theirs, idle = [], [], []
            for number in range(ROUNDS):
                changed_file.write_text(changed_file.read_text() + f"# line {time.time_ns()}\n")
                ours.append(build(trainer))
                idle.append(build(trainer))
                theirs.append(docker_build(trainer, base, environment))
                print(f"{number + 1}: changed {ours[-1]:.2f} s, unchanged {idle[-1]:.2f} s, docker {theirs[-1]:.2f} s")
    print(f"one line changed: {statistics.median(ours):.2f} s (target: under 1 s)")
    print(f"nothing changed:  {statistics.median(idle):.2f} s (target: under 0.5 s)")
    print(f"docker {statistics.median(theirs) / statistics.median(ours):.2f}")


def build(trainer: Path) -> float:
    """Seconds of one `reprise build` with the trainer's source taken from `trainer`."""
    environment = {**os.environ, "PYTHONPATH": str(trainer)}
    command = [sys.executable, "-m", "reprise", "build", "torch-cpu"]
    return seconds(command, environment)


def load_environment(address: str) -> str:
    """Put the environment image into the daemon; the name that it has there."""
    store = Store.open()
    built = build_environment(Project.find(CHECKOUT), "torch-cpu", store)
    client = docker.DockerClient(base_url=address, timeout=600)
    try:
        return load_image(client, ImageRef(store, built.environment_digest))
    finally:
        client.close()


def docker_build(trainer: Path, base: str, environment: dict[str, str]) -> float:
    """Seconds of one `docker build` that copies the trainer onto the environment image and compiles it."""
    context = trainer.parent / "context"
    shutil.rmtree(context, ignore_errors=True)
    shutil.copytree(trainer, context / "trainer")
    packages = "/usr/local/lib/python3.11/dist-packages"
    (context / "Dockerfile").write_text(
        f"FROM {base}\nCOPY trainer {packages}/\n"
        f'RUN ["/usr/bin/python3.11", "-I", "-m", "compileall", "-q", "{packages}/reprise_trainer"]\n'
    )
    build = ["build", "-q", "--network=none", "-t", "trainer", str(context)]
    return seconds([servers.program("docker", "docker.io"), *build], environment)


def seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.monotonic()
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, capture_output=True)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
