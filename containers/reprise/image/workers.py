"""Forked workers that take numbered tasks from a pipe.

The image's Python runs under its own dynamic linker, so `sys.executable` cannot be started again and `multiprocessing`
cannot spawn; forks can do all that is needed. A pipe of task numbers is a queue: the kernel gives each to one reader.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence

from reprise.image.events import send_error
from reprise_trainer.errors import RepriseError

_NUMBER = 4
_PIPE_CAPACITY = 65_536
"""Bytes that a pipe takes without a reader (pipe(7)): 16,384 task numbers."""


def task_queue(tasks: Sequence[int]) -> int:
    """The reading end of a pipe that holds the task numbers, in order, and then ends."""
    data = b"".join(task.to_bytes(_NUMBER, "little") for task in tasks)
    assert len(data) <= _PIPE_CAPACITY, f"{len(tasks)} tasks"
    receive, send = os.pipe()
    os.write(send, data)
    os.close(send)
    return receive


def taken(queue: int) -> Iterator[int]:
    """Task numbers, as long as there are any."""
    while number := os.read(queue, _NUMBER):
        yield int.from_bytes(number, "little")


def start(work: Callable[[], None]) -> int:
    """Run `work` in a fork; returns its process id. An error is sent as an event and ends the process with status 1."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BrokenPipeError:
        pass  # nobody listens any more: the host's process has ended
    except (RepriseError, OSError) as error:
        send_error(error)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(workers: Sequence[int]) -> bool:
    """Wait for all workers; when one fails the others are killed. Returns whether all did well."""
    running = set(workers)
    try:
        while running:
            worker, status = os.wait()
            running.discard(worker)
            if status != 0:
                return False
        return True
    finally:
        kill(running)


def kill(running: Collection[int]) -> None:
    """End workers that have not been waited for."""
    for worker in running:
        os.kill(worker, signal.SIGKILL)
    for worker in running:
        os.waitpid(worker, 0)
