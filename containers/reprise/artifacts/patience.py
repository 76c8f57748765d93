"""When to ask again, and how long to wait: one rule for index pages and for files."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import requests
import tenacity
import urllib3

ATTEMPTS = 4
"""Failures in a row, without one byte of progress between them, after which a place counts as silent."""

LONGEST_WAIT = 120.0
"""Seconds; a place that asks for a longer pause is not waited for."""

_MOST = 100
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # HTTP statuses that say "later" (RFC 9110, RFC 6585, RFC 8470)


class NoAnswerError(Exception):
    """A place does not answer, or answers with something that is not what it should be."""


class SilentError(NoAnswerError):
    """A place did not answer, or broke off; the same question may well be answered a moment later.

    `after` are the seconds that the place itself asks us to wait (Retry-After), 0 where it says nothing.
    """

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


def persistently(ask: Callable[[], None], moved: Callable[[], int], sleep: Callable[[float], None]) -> None:
    """Call `ask` until it ends well; each failure waits longer (0.3 s, 0.6 s, … 5 s, or as long as asked), by `sleep`.

    Args:
        ask: raises requests' or urllib3's exceptions, SilentError or NoAnswerError.
        moved: a number that changes when there was progress; then the count of failures starts anew.

    Raises:
        SilentError: after ATTEMPTS failures without progress.
        NoAnswerError: at the first failure that waiting does not mend.
    """
    stalled, last = 0, moved()

    def give_up(state: tenacity.RetryCallState) -> bool:
        nonlocal stalled, last
        stalled, last = (stalled + 1, last) if moved() == last else (1, moved())
        return stalled >= ATTEMPTS or state.attempt_number >= _MOST

    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after if isinstance(error, SilentError) else 0.0
        return max(min(5.0, 0.3 * float(2 ** max(0, stalled - 1))), asked)

    tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SilentError),
        stop=give_up,
        wait=pause,
        sleep=sleep,
        reraise=True,
    )(_translated, ask)


def refuse_bad_status(answer: requests.Response) -> None:
    """Raise NoAnswerError unless the status is 200 or 206; SilentError for those that mean "later"."""
    if answer.status_code in (200, 206):
        return
    refuse_busy(answer)
    raise NoAnswerError(_status(answer))


def refuse_busy(answer: requests.Response) -> None:
    """Raise SilentError for a status that means "later", with the time that the server asks for.

    Raises:
        NoAnswerError: it asks for more than LONGEST_WAIT.
    """
    if answer.status_code not in _BUSY:
        return
    after = _retry_after(answer.headers.get("Retry-After", ""))
    if after > LONGEST_WAIT:
        raise NoAnswerError(f"{_status(answer)}, to be asked again after {after:.0f} seconds")
    raise SilentError(_status(answer), after)


def _status(answer: requests.Response) -> str:
    return f"HTTP status {answer.status_code} {answer.reason or ''}".strip()


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After header (RFC 9110, 10.2.3) asks for: a number, or a date."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def _translated(ask: Callable[[], None]) -> None:
    """`ask`, with its libraries' exceptions as ours."""
    try:
        ask()
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise SilentError(_reason(error)) from error
    except requests.RequestException as error:
        raise NoAnswerError(_reason(error)) from error
    except urllib3.exceptions.HTTPError as error:
        raise SilentError(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """The innermost reason that the libraries' nested exceptions give, in one line."""
    seen: BaseException = error
    while True:
        inner = getattr(seen, "reason", None) or next((a for a in seen.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return str(seen).rpartition(": ")[2] or type(seen).__name__
