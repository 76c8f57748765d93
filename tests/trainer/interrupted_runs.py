"""Runs that are stopped, killed and started again on the same folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.trainer.conftest import environment

from reprise_trainer.data.snapshot import OpenSnapshot

TINY = """
[run]
name = "tiny"
environment = "torch-cpu"
seed = 7
threads = 1

[data]
name = "fashion-mnist"
artifact = "pkg:deb/debian/dataset-fashion-mnist@0?arch=all&distro=bookworm"
sha256 = "{sha256}"

[model]
kind = "mlp"
hidden = [8]
dropout = 0.1

[train]
steps = 12
batch_size = 16
shards = 4

[train.optimizer]
kind = "adamw"
lr = 0.01

[checkpoint]
every = 4

[evaluate]
batch_size = 35
"""
"""A short run, with everything in it that could lose its place: moments, dropout, checkpoints."""

STEPS, EVERY = 12, 4


@dataclass(frozen=True)
class Ended:
    """A process of `run_once.py` that has ended: exit code (negative for a signal), error text, events."""

    code: int
    error: str
    events: list[dict[str, Any]]

    @property
    def result(self) -> dict[str, Any]:
        return self.events[-1]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("event") == kind]


class Runs:
    """Starts TINY on a snapshot, as often as asked, into folders that the caller names; see `run_server.py`.

    `first` is the output of one that nothing happens to.
    """

    def __init__(self, snapshot: OpenSnapshot, folder: Path, config: str) -> None:
        self.config = folder / "run.toml"
        self.config.write_text(config)
        self._snapshot, self._folder, self._count = snapshot, folder, 0
        self.first = folder / "first"
        self.first.mkdir()
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("run_server.py")), *self._arguments(self.first)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _arguments(self, output: Path) -> list[str]:
        return [str(self.config), str(self._snapshot.folder), self._snapshot.digest, str(output)]

    def close(self) -> None:
        """End the server."""
        with self._server:
            assert self._server.stdin
            self._server.stdin.close()

    def start(
        self,
        output: Path,
        *,
        signal_at: tuple[str, int, int] | tuple[str, int, int, bool] | tuple[()] = (),
        workers: int = 1,
        tracer: Callable[[int], subprocess.Popen[str]] | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] = {},
    ) -> Ended:
        """One attempt.

        Args:
            output: the run's folder; made if it is new.
            signal_at: an event's kind and step, and the signal that the attempt sends itself then; or, with True, its
                other worker.
            workers: how many processes.
            tracer: gets the process's number before the run starts, and gives a process that has taken hold of it.
            folder: where it runs.
            environment: what it sets.
        """
        output.mkdir(parents=True, exist_ok=True)
        self._count += 1
        files = {name: str(self._folder / f"{self._count}.{name}") for name in ("stdout", "stderr", "go")}
        os.mkfifo(files["stdout"])
        os.mkfifo(files["go"])
        where = {"folder": str(folder or self._folder), "environment": dict(environment), "signal": signal_at}
        where["workers"] = workers
        request = {"arguments": self._arguments(output), **where, **files}
        assert self._server.stdin and self._server.stdout
        print(json.dumps(request), file=self._server.stdin, flush=True)
        pid = json.loads(self._server.stdout.readline())["pid"]
        events = []
        with Path(files["stdout"]).open() as said:
            traced = tracer(pid) if tracer else None
            _let_go(Path(files["go"]), pid)
            for line in said:
                if line.startswith("{"):
                    events.append(json.loads(line))
        status = json.loads(self._server.stdout.readline())["status"]
        if traced:
            traced.wait(timeout=60)
        return Ended(os.waitstatus_to_exitcode(status), Path(files["stderr"]).read_text(), events)


def _let_go(fifo: Path, pid: int) -> None:
    """Let the attempt begin, which reads the FIFO to its end first; unless it was killed before it came there."""
    while Path(f"/proc/{pid}").exists():
        try:
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads it yet (fifo(7))
                raise
            time.sleep(0.001)
        else:
            return


def files_that_count(output: Path) -> dict[str, bytes]:
    """Path → bytes of the ledger and of every regular checkpoint: what an interruption must not change."""
    paths = [output / "ledger.jsonl", *sorted((output / "checkpoints").glob("step-*[0-9]/*"))]
    return {str(path.relative_to(output)): path.read_bytes() for path in paths}
