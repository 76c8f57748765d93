"""How much memory a whole build takes, and how fast it is for its bytes: `reprise build` in a store of artifacts alone.

Memory is the sum of the PSS (proportional set size, /proc/PID/smaps_rollup) of all processes of the build: the command,
the builder under the image's Python, and its workers. PSS counts a page that several share once, so that the sum is
what the build really holds; the kernel's cache of files that are only read or written is not in it, since that is given
back whenever somebody needs it. Looked at twenty times a second: what lives shorter than that can be missed.

Run: .venv/bin/python benchmarks/build_memory.py [ENVIRONMENT …]  (default: torch-cpu; needs twice the artifacts' bytes)
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reprise.environments import fetch_environment
from reprise.lock.model import Lock
from reprise.project import Project
from reprise.store import Store
from reprise_trainer.identity.file_list import decode_list

TARGET = 600
"""MB at most, whatever the environment's size."""

INTERVAL = 0.05
"""Seconds between two looks."""


@dataclass(frozen=True)
class Build:
    """Seconds, peak memory in bytes (and the part of it that is no file's), processes at the peak, bytes in and out."""

    seconds: float
    peak: int
    anonymous: int
    processes: int
    artifacts: int
    unpacked: int
    layers: int


def main() -> int:
    parser = argparse.ArgumentParser(description="Peak memory and speed of a build from nothing but artifacts.")
    parser.add_argument("environments", nargs="*", default=["torch-cpu"], metavar="ENVIRONMENT")
    project, store = Project.find(Path(__file__).parent), Store.open()
    most = 0.0
    for name in parser.parse_args().environments:
        lock, _ = fetch_environment(project, name, store)
        build = measure(name, lock, store, project)
        most = max(most, build.peak / 1e6)
        print(
            f"{name}: {build.artifacts / 1e9:.2f} GB of artifacts, {build.unpacked / 1e9:.2f} GB unpacked, "
            f"{build.layers / 1e9:.2f} GB of layers in {build.seconds:.1f} s: "
            f"{build.unpacked / build.seconds / 1e6:.0f} MB/s unpacked, {len(os.sched_getaffinity(0))} cores"
        )
        print(
            f"{name}: peak {build.peak / 1e6:.0f} MB in {build.processes} processes, "
            f"{build.anonymous / 1e6:.0f} MB of it anonymous (target: under {TARGET} MB)"
        )
    print(f"peak {most:.0f} MB")
    return 0 if most < TARGET else 1


def measure(name: str, lock: Lock, store: Store, project: Project) -> Build:
    """One build in a new store, next to `store`, that has its artifacts as links."""
    with tempfile.TemporaryDirectory(prefix=".build-memory-", dir=store.root.parent) as folder:
        fresh = Store.open(Path(folder) / "store")
        for digest in {artifact.digest for artifact in lock.artifacts}:
            blob = store.path(digest)
            (fresh.root / "blobs" / "sha256" / blob.name).hardlink_to(blob)
        command = [sys.executable, "-m", "reprise", "build", name, "--store", str(fresh.root), "--json"]
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        peak = (0, 0, 0)
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(INTERVAL)
        seconds = time.perf_counter() - started
        assert process.stdout is not None
        built = json.loads(process.stdout.read())
        assert process.returncode == 0 and built["built"] == len(built["layers"]), built
        records = [json.loads(path.read_bytes()) for path in (fresh.cache / "layers").iterdir()]
        listed = [file for each in records for file in decode_list(fresh.read(each["list_digest"]))[1]]
        return Build(
            seconds=seconds,
            peak=peak[0],
            anonymous=peak[1],
            processes=peak[2],
            artifacts=sum(store.path(artifact.digest).stat().st_size for artifact in lock.artifacts),
            unpacked=sum(file.size for file in listed),
            layers=sum(layer["size"] for layer in built["layers"]),
        )


def memory(root: int) -> tuple[int, int, int]:
    """Bytes of the PSS of a process and all that descend from it, the anonymous part of them, and how many they are."""
    total = anonymous = count = 0
    for pid in descendants(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it ended meanwhile
        fields = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines[1:])}
        if "Pss" in fields:
            total += 1024 * int(fields["Pss"])
            anonymous += 1024 * int(fields["Pss_Anon"])
            count += 1
    return total, anonymous, count


def descendants(root: int) -> Iterator[int]:
    """A process's id and those of its children, theirs, and so on, as the kernel lists them (proc(5))."""
    yield root
    try:
        tasks = list(Path(f"/proc/{root}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        yield from descendants(int(child))


if __name__ == "__main__":
    sys.exit(main())
