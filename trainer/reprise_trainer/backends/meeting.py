"""Where workers meet, how long each waits for the others, and the two messages when one does not come or answer."""

from __future__ import annotations

from dataclasses import dataclass

from reprise_trainer.errors import UnavailableError

MEETING_SECONDS = 120.0
"""How long the first worker waits until the last has come: they measure their image before."""

ANSWER_SECONDS = 600.0
"""How long a worker may take for what the others wait for: a step, or a checkpoint that worker 0 writes."""

HEARTBEAT_SECONDS = 30.0
"""After how long without a sign of life a worker on another host counts as dead; a closed connection tells at once."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Worker `rank` of `size` meets the others at `host` and `port`.

    `local`: all are on this host. `served`: a launcher serves a store there; worker 0 serves one else. `attempt` keeps
    the meetings of one job's restarts apart.
    """

    rank: int
    size: int
    host: str
    port: int
    local: bool
    served: bool = False
    attempt: str = "0"


def nobody_came(meeting: Meeting, error: Exception) -> UnavailableError:
    """The error of a worker that did not meet all the others."""
    return UnavailableError(
        f"worker {meeting.rank} did not meet the other {meeting.size - 1} at {meeting.host}:{meeting.port} "
        f"within {MEETING_SECONDS:.0f} s: {_first_line(error)}",
        hint="Have all been started? Does this host reach that address and port?",
    )


def no_answer(peer: int, error: Exception) -> UnavailableError:
    """The error of a worker that waits for worker `peer`."""
    return UnavailableError(
        f"worker {peer} does not answer: {_first_line(error)}",
        hint="It has ended, or its host is gone. Start the run again on the same folder: it goes on (--resume).",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
