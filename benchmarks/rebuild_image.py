"""How long a developer waits for a new image: after one line of the trainer changed, and after nothing changed.

Whole commands, as a person runs them (`reprise build torch-cpu`), on a store where everything else is built. The peer
is what a developer would otherwise run for the same change: a `docker build` of one layer with the trainer, and
nothing else to do.

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
            docker_build(trainer, environment)
            ours, theirs, idle = [], [], []
            for number in range(ROUNDS):
                changed_file.write_text(changed_file.read_text() + f"# line {time.time_ns()}\n")
                ours.append(build(trainer))
                idle.append(build(trainer))
                theirs.append(docker_build(trainer, environment))
                print(f"{number + 1}: changed {ours[-1]:.2f} s, unchanged {idle[-1]:.2f} s, docker {theirs[-1]:.2f} s")
    print(f"one line changed: {statistics.median(ours):.2f} s (target: under 1 s)")
    print(f"nothing changed:  {statistics.median(idle):.2f} s (target: under 0.5 s)")
    print(f"PEER RATIO docker {statistics.median(theirs) / statistics.median(ours):.2f}")


def build(trainer: Path) -> float:
    """Seconds of one `reprise build` with the trainer's source taken from `trainer`."""
    environment = {**os.environ, "PYTHONPATH": str(trainer)}
    command = [sys.executable, "-m", "reprise", "build", "torch-cpu"]
    return seconds(command, environment)


def docker_build(trainer: Path, environment: dict[str, str]) -> float:
    """Seconds of one `docker build` that copies the trainer onto a small base and compiles it."""
    context = trainer.parent / "context"
    context.mkdir(exist_ok=True)
    shutil.rmtree(context / "trainer", ignore_errors=True)
    shutil.copytree(trainer, context / "trainer")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY trainer /usr/local/lib/python3.11/dist-packages\n")
    return seconds([servers.program("docker", "docker.io"), "build", "-q", "-t", "trainer", str(context)], environment)


def seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.monotonic()
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True, capture_output=True)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
