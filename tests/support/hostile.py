"""One build through the real command line, under surroundings that a test chooses, and what its process saw of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise.environments import load_lock
from reprise.project import Project
from reprise.store import Store

CHECKOUT = Path(__file__).parents[2]
HOSTILE = CHECKOUT / "tests" / "hostile"
SMALL = Project(HOSTILE / "project")
OURS = (str(CHECKOUT / "containers"), str(CHECKOUT / "trainer"))
COMMAND = (sys.executable, str(Path(sys.executable).parent / "reprise"))
SECONDS = 500


@dataclass(frozen=True)
class Surroundings:
    """What one build runs in.

    `prefix` starts it (`taskset -c 0` …); `unset` and `environment` change its variables; `command` is the interpreter
    and the program that it becomes; `arguments` are added to the command; `listed` is a folder whose order is told.
    """

    prefix: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    unset: Sequence[str] = ()
    command: Sequence[str] = COMMAND
    arguments: Sequence[str] = ()
    folder: Path = CHECKOUT
    listed: Path = Path(OURS[1]) / "reprise_trainer"


@dataclass(frozen=True)
class Outcome:
    """What a build said (`--json`), what its process had seen, and how many descendants it had at most at once."""

    said: dict[str, Any]
    saw: dict[str, Any]
    processes: int
    store: Store

    @property
    def digest(self) -> str:
        return str(self.said["digest"])


def stocked(root: Path, full: Store, project: Project = SMALL, name: str = "small") -> Store:
    """A store that has the artifacts of `full`, as links where the file system allows, and nothing built."""
    store = Store.open(root)
    for artifact in load_lock(project, name).artifacts:
        target, source = store.root / "blobs" / "sha256" / artifact.sha256, full.path(artifact.digest)
        try:
            target.hardlink_to(source)
        except OSError:
            target.write_bytes(source.read_bytes())
    return store


def build(
    work: Path, store: Store, around: Surroundings, *, project: Path = SMALL.root, name: str = "small"
) -> Outcome:
    """Build once; fails with what the command printed when it fails.

    Args:
        work: a folder that the build's process may write; gets what the witness saw.
        store: where the image goes.
        around: the surroundings.
        project, name: what is built.
    """
    report = work / "saw.json"
    witness = [str(HOSTILE / "witness.py"), str(report), str(store.root), str(around.listed), "--"]
    verb = ["build", name, "--json", "--store", str(store.root), "--project", str(project), *around.arguments]
    python = around.command[0]
    environment = {key: value for key, value in os.environ.items() if key not in around.unset}
    process = subprocess.Popen(
        [*around.prefix, python, *witness, *around.command, *verb],
        cwd=around.folder,
        env={**environment, **around.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with _Counted(process.pid) as counted:
        output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, f"{output[-500:]}\n{errors[-3000:]}"
    return Outcome(json.loads(output), json.loads(report.read_text()), counted.most, store)


class _Counted:
    """Counts a process's descendants while it runs; `most` is the largest number at once."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Counted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, len(_descendants(self._pid)))


def _descendants(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue  # it has ended
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found: set[int] = set()
    layer = {pid}
    while layer:
        layer = {child for child, parent in parents.items() if parent in layer} - found
        found |= layer
    return found
