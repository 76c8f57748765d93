"""What the builder tells the host while it works: one JSON object a line on standard output.

- `layer`: `name`, `state` ("started" | "built"), `bytes` and `total` of tar, for progress
- `built`: `name` and the fields of the layer, once its files are complete
- `error`: `class` (of reprise_trainer.errors), `message`, `hint`; the builder then ends with status 1
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from reprise_trainer import errors
from reprise_trainer.errors import NotFoundError, RepriseError, StorageError

_MAX_LINE = 4096
"""PIPE_BUF: so much is written to a pipe in one piece, whoever else writes (pipe(7))."""


def send(event: dict[str, Any]) -> None:
    """Write one event. Workers share the pipe, so a line is one write of at most PIPE_BUF bytes."""
    line = json.dumps(event).encode() + b"\n"
    assert len(line) <= _MAX_LINE, f"an event of {len(line)} bytes"
    os.write(1, line)


def send_error(error: RepriseError | OSError) -> None:
    """Tell the host what went wrong, in a form that it can raise again."""
    if isinstance(error, OSError):
        error = _from_system(error)
    message = error.message.encode("utf-8", "replace")[:1200].decode("utf-8", "ignore")
    send({"event": "error", "class": type(error).__name__, "message": message, "hint": error.hint[:600]})


def received_error(event: dict[str, Any]) -> RepriseError:
    """The error that an `error` event tells of."""
    kind = getattr(errors, str(event["class"]), RepriseError)
    assert issubclass(kind, RepriseError)
    return kind(str(event["message"]), hint=str(event["hint"]))


def _from_system(error: OSError) -> RepriseError:
    if isinstance(error, FileNotFoundError) and error.filename:
        return NotFoundError(f"{Path(os.fsdecode(error.filename))} does not exist")
    where = f" {os.fsdecode(error.filename)}" if error.filename else ""
    return StorageError(
        f"the build's files cannot be written or read{where}: {error.strerror or error}",
        hint="Free some space or choose another store, and run the command again.",
    )
