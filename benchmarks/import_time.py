"""How long `import torch` and `import jax` take in the image, on its read-only root, against a virtual environment.

Both have the very same wheels: pip installs the virtual environment from what `reprise lock --export pip` prints, with
Debian's Python where the machine has it. Each import is a new process, and in the image a new mount too; the files are
in the kernel's cache on both sides, and both have their bytecode. Measured inside, from before the import to after it.
The two take turns, and medians count.

Run: .venv/bin/python benchmarks/import_time.py [--rounds N] [torch] [jax]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from reprise.engine.flat_copy import flat_copy
from reprise.engine.interface import ImageRef, RunFolders
from reprise.engine.namespaces import Plan, make_plan, run_plan
from reprise.engine.unpack import unpack_layers
from reprise.environments import build_environment, load_lock
from reprise.lock.export import export_lock
from reprise.project import Project
from reprise.store import Store

MODULES = {"torch": "torch-cpu", "jax": "jax-cpu"}
ROUNDS = 21

PROGRAM = """
import time
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Import times in an image and in a virtual environment.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="MODULE")
    asked = parser.parse_args()
    project, store = Project.find(Path(__file__).parent), Store.open()
    ratios = {}
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        for module in asked.modules:
            environment, folder = MODULES[module], Path(name) / module
            image = ImageRef(store, build_environment(project, environment, store).digest)
            plan, python = image_plan(image, module, folder), virtual_environment(project, environment, store, folder)
            ours, theirs = [], []
            for number in range(asked.rounds + 1):
                times = in_image(plan), in_venv(python, module, plan.environment)
                if number > 0:  # the first reads the files
                    ours.append(times[0])
                    theirs.append(times[1])
            ratios[module] = statistics.median(theirs) / statistics.median(ours)
            for what, found in (("image", ours), (f"venv ({python_version(python)})", theirs)):
                print(f"import {module}, {what}: median {statistics.median(found):.3f} s, best {min(found):.3f} s")
            shutil.rmtree(folder)
    for module, ratio in ratios.items():
        print(f"venv-{module} {ratio:.2f}")


def image_plan(image: ImageRef, module: str, folder: Path) -> Plan:
    """How the engine runs the image's Python with the program instead of the trainer."""
    folders = RunFolders(folder / "launch", folder / "data", folder / "output")
    for each in (folders.launch, folders.data, folders.output):
        each.mkdir(parents=True)
    flat_copy(image, unpack_layers(image.store, image.layers()))  # as every run but the first has it
    plan = make_plan(image, folders)
    return replace(plan, arguments=(plan.arguments[0], "-I", "-c", PROGRAM.format(module=module)))


def in_image(plan: Plan) -> float:
    """Seconds of the import in the image."""
    lines: list[str] = []
    code = run_plan(plan, on_line=lines.append, on_error_line=print)
    assert code == 0, lines
    return float(lines[-1])


def virtual_environment(project: Project, name: str, store: Store, folder: Path) -> Path:
    """The Python of a new virtual environment with the wheels of a lock."""
    wheels = folder / "wheels"
    wheels.mkdir()
    for artifact in load_lock(project, name).artifacts:
        if artifact.kind == "wheel":
            (wheels / artifact.file_name).symlink_to(store.path(artifact.digest))
    requirements = folder / "requirements.txt"
    requirements.write_text(export_lock(project.lock_folder(name), project.environment_file(name), "pip"))
    base = shutil.which("python3.11", path="/usr/bin") or sys.executable
    python = folder / "venv" / "bin" / "python"
    subprocess.run([base, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--no-index", "--find-links", wheels, "-r", requirements], check=True)
    return python


def in_venv(python: Path, module: str, environment: tuple[str, ...]) -> float:
    """Seconds of the import in the virtual environment, with the image's environment variables."""
    variables = dict(pair.split("=", 1) for pair in environment)
    command = [python, "-I", "-c", PROGRAM.format(module=module)]
    return float(subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True).stdout)


def python_version(python: Path) -> str:
    return subprocess.run([python, "-V"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main()
