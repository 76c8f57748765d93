"""Attempts: each start of a run on its output folder, when it began, when and why it ended. One JSON line an event.

    {"attempt":1,"event":"started","step":0,"time":"2026-01-31T12:00:00Z","workers":2}
    {"attempt":1,"event":"ended","step":12,"time":"2026-01-31T12:00:09Z","why":"SIGTERM"}

One that could reach a network also has "network", the interfaces that were up; one that was given secrets, "secrets",
their names. A killed attempt has no second line. Nothing here is compared between runs; the run record lists it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reprise_trainer.canonical import canonical_json
from reprise_trainer.durable import append_line, storage_error
from reprise_trainer.errors import RepriseError, StorageError
from reprise_trainer.identity.delegation import format_time
from reprise_trainer.redaction import redact

FILE_NAME = "attempts.jsonl"
KILLED = "killed"
"""Why an attempt ended that left no word: SIGKILL, loss of power, a host that went away."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a run: times in UTC (`ended` empty where it left no word), why it ended, the finished steps at its
    start and at its end (those at the start where it left no word), how many workers it had, the interfaces of the
    network that it could reach, and the names of the secrets that it was given."""

    started: str
    ended: str
    why: str
    first_step: int
    last_step: int
    workers: int
    network: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


class Log:
    """The running attempt: `reached` is told of each finished step."""

    def __init__(self, path: Path, number: int, step: int) -> None:
        self._path, self._number, self._step = path, number, step

    def reached(self, step: int) -> None:
        self._step = step

    def add(self, event: str, **facts: Any) -> None:
        """Append a line and force it to the disk.

        Raises:
            StorageError: it can't be written.
        """
        time = format_time(datetime.now(UTC))
        line = canonical_json({"attempt": self._number, "event": event, "step": self._step, "time": time, **facts})
        try:
            with self._path.open("ab", buffering=0) as file:
                append_line(file, line)
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_error(error, self._path) from error


@contextmanager
def attempt(
    output: Path, *, step: int, workers: int, network: Sequence[str] = (), secrets: Sequence[str] = ()
) -> Iterator[Log]:
    """Log that an attempt starts at `step` finished steps, and why it ends.

    Raises:
        StorageError: the log can't be written.
    """
    path = output / FILE_NAME
    _end_torn_line(path)
    log = Log(path, len(read_attempts(output)) + 1, step)
    given = {"network": list(network), "secrets": list(secrets)}
    log.add("started", workers=workers, **{name: value for name, value in given.items() if value})
    try:
        yield log
    except BaseException as error:
        why = redact(error.message) if isinstance(error, RepriseError) else type(error).__name__
        with suppress(StorageError):  # a full disk has its own error under way
            log.add("ended", why=why)
        raise
    log.add("ended", why="finished")


def read_attempts(output: Path) -> tuple[Attempt, ...]:
    """The attempts so far, in order; a line that a crash has torn is left out."""
    try:
        data = (output / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return ()
    found: dict[int, Attempt] = {}
    for line in data.splitlines():
        with suppress(ValueError, KeyError, TypeError):
            _take(found, json.loads(line))
    return tuple(found.values())


def _take(found: dict[int, Attempt], line: dict[str, Any]) -> None:
    number, step, time = line["attempt"], line["step"], line["time"]
    match line["event"]:
        case "started":
            given = (tuple(line.get(name, ())) for name in ("network", "secrets"))
            found[number] = Attempt(time, "", KILLED, step, step, line["workers"], *given)
        case "ended" if number in found:
            found[number] = replace(found[number], ended=time, why=line["why"], last_step=step)


def _end_torn_line(path: Path) -> None:
    with suppress(FileNotFoundError):
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            with path.open("ab") as file:
                file.write(b"\n")
