"""Progress, as plain dictionaries: functions report, the command line draws.

Every event has a key `event`; the others depend on it:

- `fetch`: `purl`, `bytes` so far, `total` (bytes, 0 when unknown)
- `layer`: `name`, `state` ("reused" | "started" | "built"), `bytes`, `total` (uncompressed bytes)
- `unpack`, `push`, `pull`: `name`, `bytes`, `total`
- `step`: `step`, `steps`, `loss` (a number to show, not to compare)
- `phase`: `name` of what begins now
- `ENDINGS`: `message`, `hint`, `exit_code` of a run that did not finish; the command ends with the same error
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]

ENDINGS = ("refused", "failed", "stopped")
"""The trainer's last event where a run does not finish."""


def ignore(event: Event) -> None:
    """For callers who don't watch."""
