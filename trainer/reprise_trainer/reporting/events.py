"""Events on standard output: one JSON object a line for launchers, or a short line for people."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from reprise_trainer.errors import StorageError
from reprise_trainer.redaction import redact, redact_document

_STEP_INTERVAL = {"json": 0.1, "text": 2.0}
"""Seconds between two step events at least; the last step's is always shown."""

_ON_STDERR = ("refused", "failed", "stopped")
"""People read these on standard error; launchers get them as events, and tell them on."""


class Events:
    """Writes events. Each is a dictionary with `event`: measured, checked, resumed, step, health, checkpoint,
    reused, evaluated, finished, refused, stopped or failed. `step` is the last finished step that was told.

    Args:
        form: `json` or `text`.
        stream: where to; standard output by default.
    """

    def __init__(self, form: str = "text", stream: TextIO | None = None) -> None:
        self._form = form
        self._stream = stream or sys.stdout
        self._last_step = -1e9
        self.step = 0
        self._lock = threading.Lock()  # health is told by a thread of its own

    @property
    def for_launcher(self) -> bool:
        """Whether a launcher reads them, and no person."""
        return self._form == "json"

    def emit(self, event: dict[str, Any]) -> None:
        """Write one event.

        Raises:
            StorageError: nobody reads standard output any more.
        """
        if event["event"] == "step":
            self.step = event["step"]
            now = time.monotonic()
            if now - self._last_step < _STEP_INTERVAL[self._form] and event["step"] != event["steps"]:
                return
            self._last_step = now
        if self._form == "text" and event["event"] in _ON_STDERR:
            return
        line = json.dumps(redact_document(event)) if self._form == "json" else redact(text(event))
        try:
            with self._lock:
                self._stream.write(line + "\n")
                self._stream.flush()
        except OSError as error:
            raise StorageError(f"standard output: cannot write: {error.strerror}") from error


def text(event: Mapping[str, Any]) -> str:
    """An event in one line, for people."""
    match event:
        case {"event": "step", "step": step, "steps": steps, "loss": loss}:
            return f"step {step}/{steps}  loss {loss:.4f}"
        case {"event": "health", "memory_bytes": memory, "cpu_share": cores}:
            return f"health: {memory / 2**20:,.0f} MiB, {cores:.1f} cores busy"
        case {"event": "checkpoint", "step": step, "state": state}:
            return f"checkpoint after step {step}: {state}"
        case {"event": "validated", "step": step, "loss": loss}:
            return f"validation after step {step}: loss {float.fromhex(loss):.4f}"
        case {"event": "measured" | "checked" | "resumed" | "reused", "message": message}:
            return str(message)
        case {"event": "evaluated", "metrics": metrics}:
            if "accuracy" not in metrics:
                return f"loss {float.fromhex(metrics['loss']):.4f}"
            return f"accuracy {metrics['accuracy']} ({metrics['correct']:,} of {metrics['total']:,})"
        case {"event": "finished", "ledger": ledger, "state": state}:
            return f"finished: ledger {ledger}, state {state}"
        case _:
            return json.dumps(redact_document(event))
