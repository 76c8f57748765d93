"""Processes that unpack layers, one a core: Python's own work a file would keep threads waiting for each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from reprise.engine.interface import Layer
from reprise.events import OnEvent
from reprise_trainer import errors
from reprise_trainer.errors import RepriseError, SystemFailureError

Unpack = Callable[[Layer, list[Path], threading.Event | None], "Future[None]"]
"""Begins to unpack a layer from the first of the files that is there.

Where there is an event, that file still grows, to the layer's size, and the layer appears only after the event: the
file's bytes are verified then.
"""

_LOOK_SECONDS = 0.1


@contextmanager
def unpackers(folder: Path, count: int, on_event: OnEvent, *, lock: int) -> Iterator[Unpack]:
    """`count` processes that unpack into `folder` for the length of the block, which ends when all is unpacked.

    Args:
        folder: where each layer's folder appears, named by its diff_id.
        count: processes.
        on_event: told of each layer's progress, in threads of its own.
        lock: descriptor that the processes hold open: what it locks stays locked until the last of them has ended.

    Each result is None, or as an exception what `unpack_layer` raises. Where the block raises, the processes are ended.
    """
    processes = [_Process(folder, lock) for _ in range(count)]
    idle: SimpleQueue[_Process] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def unpack(layer: Layer, files: list[Path], verified: threading.Event | None) -> None:
        process = idle.get()
        try:
            process.unpack(layer, files, verified, on_event)
        finally:
            idle.put(process)

    pool = ThreadPoolExecutor(count, thread_name_prefix="unpack")
    try:
        yield lambda layer, files, verified: pool.submit(unpack, layer, files, verified)
        pool.shutdown()
    finally:
        for process in processes:
            process.end()
        pool.shutdown(cancel_futures=True)


class _Process:
    """One process, `python -m reprise.engine.unpack_process`."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "reprise.engine.unpack_process", str(folder)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},  # the same code as here
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[lock],
            start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and we end it
        )

    def unpack(self, layer: Layer, files: list[Path], verified: threading.Event | None, on_event: OnEvent) -> None:
        """Unpack a layer, and wait until it is done."""
        try:
            self._send({**asdict(layer), "files": [str(path) for path in files], "grows": verified is not None})
            while answer := self._answer():
                match answer:
                    case {"error": kind}:
                        raise _error(str(kind), answer)
                    case {"position": position}:
                        on_event({"event": "unpack", "name": layer.digest, "bytes": position, "total": layer.size})
                    case {"unpacked": True}:
                        self._wait(verified)
                        self._send({"keep": True})
                    case _:
                        return
        except BrokenPipeError:
            pass
        raise SystemFailureError(
            f"the process that unpacks layer {layer.digest} ended with status {self._process.wait()}",
            hint="Was there too little memory? Run the command again.",
        )

    def _wait(self, verified: threading.Event | None) -> None:
        while verified and not verified.wait(_LOOK_SECONDS):
            if self._process.poll() is not None:  # the pull was given up
                raise BrokenPipeError

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()

    def _send(self, document: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(document).encode() + b"\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or b"{}")
        return answer


def _error(kind: str, answer: dict[str, Any]) -> RepriseError:
    found: RepriseError = getattr(errors, kind)(answer["message"], hint=answer["hint"])
    return found
