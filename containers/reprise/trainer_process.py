"""The trainer in an engine: its lines become events, and its exit code an error."""

from __future__ import annotations

import json

from reprise.engine.choose import run
from reprise.engine.interface import ImageRef, RunFolders
from reprise.events import ENDINGS, Event, OnEvent
from reprise_trainer import errors
from reprise_trainer.errors import RepriseError, StoppedError

_EXIT_CODES = {
    kind.exit_code: kind
    for kind in (
        errors.DoesNotHoldError,
        errors.InputError,
        errors.NotFoundError,
        errors.UnavailableError,
        errors.SystemFailureError,
        errors.StorageError,
        errors.StoppedError,
        errors.RefusedError,
    )
}

_BY_A_STOPPING_SIGNAL = (128 + 2, 128 + 15)
"""The exit codes of a trainer that SIGINT or SIGTERM ended before it listened to them."""


def run_trainer(
    engine: str, image: ImageRef, folders: RunFolders, *, gpus: str, network: bool, on_event: OnEvent
) -> None:
    """Run the trainer of `image` to its end.

    Raises:
        StoppedError: it was asked to stop, and goes on when it is started again.
        RepriseError: the trainer's own error, by its exit code.
    """
    events = _Events(on_event)
    code = run(engine, image, folders, on_line=events.on_line, on_event=on_event, gpus=gpus, network=network)
    match code:
        case 0:
            return
        case StoppedError.exit_code:
            raise StoppedError(events.failure, hint=_how_to_go_on(folders))
        case _ if code in _BY_A_STOPPING_SIGNAL:
            raise StoppedError("stopped before the first step", hint=_how_to_go_on(folders))
        case _:
            hint = "\n".join(filter(None, (events.hint, f"Its files are in {folders.output}.")))
            raise _EXIT_CODES.get(code, RepriseError)(
                events.failure or f"the trainer ended with exit code {code}", hint=hint
            )


def _how_to_go_on(folders: RunFolders) -> str:
    return f"To go on, run the same command with --resume {folders.output} in place of CONFIG, --set and --output."


class _Events:
    """The trainer's events: passed on, and the message and hint of a failure remembered."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self.failure = ""
        self.hint = ""

    def on_line(self, line: str) -> None:
        try:
            event: Event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            return  # a library printed something of its own
        if kind in ENDINGS:
            self.failure, self.hint = str(event.get("message", "")), str(event.get("hint", ""))
        self._on_event(event)
