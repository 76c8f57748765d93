"""The workers of one host: the first process forks the others, once it has measured what it runs on.

A fork has the files, the environment and the arguments of the process that was measured, by construction; so one
measurement stands for all workers of a host. It must come before anything numeric is loaded, whose threads a fork would
lose. A worker that dies ends the run: the others would wait for it. Standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from reprise_trainer.errors import InputError, RepriseError, StoppedError, SystemFailureError, UnavailableError
from reprise_trainer.redaction import redact
from reprise_trainer.training.workers.desk import Desks
from reprise_trainer.training.workers.group import SINGLE, Group

END_SECONDS = 15.0
"""How long the first worker may still work after another has died, and the others after the first has ended."""

_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def crew(workers: int) -> Iterator[Group]:
    """Fork `workers` - 1 processes; each, and this one, runs the block as its own place in the group.

    The block of a forked worker ends its process. In the first, the block's end waits for the others.

    Raises:
        UnavailableError: another worker died.
        SystemFailureError: there are no more processes or files to be had.
    """
    if workers == 1:
        yield SINGLE
        return
    try:
        desks, children = Desks(workers), {}
    except OSError as error:
        raise SystemFailureError(f"{workers} workers can't share memory: {error.strerror}") from error
    for rank in range(1, workers):
        try:
            pid = os.fork()
        except OSError as error:
            raise SystemFailureError(f"worker {rank} of {workers} can't be started: {error.strerror}") from error
        if pid == 0:
            _die_with_parent()
            with _ending(rank):
                yield Group(rank, workers, workers, desk=desks.take(rank))
        children[pid] = rank
    watch = _Watch(children)
    try:
        yield Group(0, workers, workers, desk=desks.take(0), leaving=watch.release)
    except StoppedError:
        watch.join()  # they were asked to stop too
        raise
    except UnavailableError as error:
        watch.raise_if_one_died(error)
        raise
    finally:
        watch.end()
    watch.join()


class _Watch:
    """Waits for the forked workers, each in a thread; when one dies, the run ends within END_SECONDS.

    One that ends by an InputError is not waited for: the first comes to that error too, or finds nobody there.
    """

    def __init__(self, children: dict[int, int]) -> None:
        self._children = children
        self._died: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._wait, args=each, daemon=True) for each in children.items()]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the others' end.

        Raises:
            UnavailableError: one died.
        """
        self._wait_for_all()
        self.raise_if_one_died(None)

    def raise_if_one_died(self, error: UnavailableError | None) -> None:
        """Raises UnavailableError, caused by `error`, when a worker died."""
        if error is not None:
            self._wait_for_all(0.5)  # an exchange fails a moment before its cause is known
        if self._died:
            raise UnavailableError(
                "; ".join(self._died), hint="Start the run again on the same folder: it goes on (--resume)."
            ) from error

    def release(self) -> None:
        """From now on a death ends nothing: the first worker waits for nobody any more.

        An error ends the others at once, while the first has a checkpoint and the record of the failure to write; how
        long those take is the disk's affair.
        """
        self._over.set()

    def end(self) -> None:
        """The first worker has ended; who is still there a moment after its error is killed."""
        self.release()
        if sys.exc_info()[0] is not None:
            self._wait_for_all(1.0)
            self._kill()

    def _wait_for_all(self, seconds: float = END_SECONDS) -> None:
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _kill(self) -> None:
        for pid, thread in zip(self._children, self._threads, strict=True):
            if thread.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _wait(self, pid: int, rank: int) -> None:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code in (0, StoppedError.exit_code):
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self._died.append(f"worker {rank} {how}")
        if code == InputError.exit_code:
            return  # numbers and data are the same for all
        if not self._over.wait(END_SECONDS):  # the first worker hangs in something that nobody will answer
            print(f"error: {self._died[0]}, and the run does not end by itself", file=sys.stderr, flush=True)
            self._kill()
            os._exit(UnavailableError.exit_code)


@contextmanager
def _ending(rank: int) -> Iterator[None]:
    """End this forked process with the block; its errors are for the reader of standard error."""
    code = RepriseError.exit_code
    try:
        yield
        code = 0
    except RepriseError as error:
        code = error.exit_code
        if not isinstance(error, StoppedError):
            print(redact(f"worker {rank}: {error.message}"), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except Exception as error:
        print(redact(f"worker {rank}: {type(error).__name__}: {error}"), file=sys.stderr, flush=True)
    finally:
        _leave(code)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
