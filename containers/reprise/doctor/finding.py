"""One line of what `reprise doctor` says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, what was found, and what to do (empty where nothing is)."""

    name: str
    state: State
    what: str
    todo: str = ""

    def as_json(self) -> dict[str, Any]:
        """The finding for `--json`."""
        return asdict(self)
