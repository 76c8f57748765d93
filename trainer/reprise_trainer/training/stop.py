"""Signals that ask a run to end: it finishes its step, leaves a checkpoint, and exits 75."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from reprise_trainer.errors import StoppedError

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether the run was asked to end, and by which signal."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        return self.signal is not None

    def request(self, number: int, _frame: FrameType | None = None) -> None:
        """Take note of a signal. A second Ctrl-C does not wait any more; other signals may come any number of times,
        since a scheduler and the launcher between often both send one.

        Raises:
            KeyboardInterrupt: it is SIGINT, and not the first signal.
        """
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """While the block runs, SIGTERM and SIGINT only ask for an end.

    Python calls handlers in the main thread alone; in another thread the caller has to see to it.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.request) for number in STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # Once asked to end, this process ends; the same signal sent again must not change its exit code.
            signal.signal(number, signal.SIG_IGN if stop.requested and number == signal.SIGTERM else handler)


def stopped(stop: Stop | None, step: int) -> StoppedError:
    """The error of a run that has ended in order after `step` finished steps."""
    why = stop.signal.name if stop and stop.signal else "a signal to another worker"
    return StoppedError(
        f"stopped by {why} after step {step}; the state is in a checkpoint",
        hint="Start the run again on the same folder (reprise train --resume): it goes on from there.",
    )
