"""Signals that ask this process to end, while it waits for a run: passed on, so that the run can leave a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOP_SECONDS = 60.0
"""How long a run may take to finish its step and write a checkpoint, before it is interrupted and killed."""

AGAIN_SECONDS = 2.0
"""After how long the signal is sent once more: a run that has just started may not have listened yet."""

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def passing_signals(send: Callable[[], object]) -> Iterator[None]:
    """While the block runs, a signal to this process makes `send` be called, which sends SIGTERM to the run.

    A second Ctrl-C, or STOP_SECONDS without an end, interrupts the block instead (KeyboardInterrupt or SystemExit).
    Python calls handlers in the main thread alone; elsewhere nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()
    asked: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if not asked:
            asked.append(number)
            signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)
            threading.Thread(target=_send_until, args=(ended, send), daemon=True).start()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + asked[0])

    before = {number: signal.signal(number, on_signal) for number in PASSED_ON}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, on_alarm)
    try:
        yield
    finally:
        ended.set()
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


def _send_until(ended: threading.Event, send: Callable[[], object]) -> None:
    """In a thread of its own: what sends may use a connection that the interrupted code was just using."""
    while not ended.is_set():
        with suppress(Exception):  # the run has ended meanwhile, or its engine has
            send()
        ended.wait(AGAIN_SECONDS)
