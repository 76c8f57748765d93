"""A batch script for Slurm whose job is one run, however often the scheduler stops it.

The run has one folder and one command line (`--resume DIR` with the configuration starts it or goes on). Slurm sends
SIGTERM before it takes the node away; the run leaves a checkpoint and exits 75; with `RequeueExit=75` in slurm.conf the
job goes back into the queue, and the same line goes on. Source: sbatch(1), slurm.conf(5).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.errors import InputError, StoppedError

REQUEUE_LINE = f"RequeueExit={StoppedError.exit_code}"
"""What slurm.conf needs."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the scheduler is told: the job's name, its cores, how many seconds before the end of its time it gets
    SIGTERM, and further lines for `#SBATCH`, as sbatch takes them (`--time=8:00:00`)."""

    name: str
    cpus: int
    lead_seconds: int = 120
    options: tuple[str, ...] = ()


def job_script(command: Sequence[str], job: Job, *, log: Path) -> str:
    """The script.

    Args:
        command: starts the run or goes on with it, and exits 75 when it was stopped.
        job: what the scheduler is told.
        log: the file that the job's output is appended to.

    Raises:
        InputError: an option or the log's name would be another line of the script.
    """
    for option in job.options:
        if not option.startswith("--") or "\n" in option:
            raise InputError(f"{option!r} is not an option of sbatch", hint="For instance --time=8:00:00.")
    lines = [
        f"--job-name={job.name}",
        "--ntasks=1",
        f"--cpus-per-task={job.cpus}",
        "--requeue",
        "--open-mode=append",  # each attempt adds to the log
        f"--output={_file_name(log)}",
        f"--signal=B:TERM@{job.lead_seconds}",  # B: to the batch shell, which the run replaces
        *job.options,
    ]
    directives = "\n".join(f"#SBATCH {line}" for line in lines)
    return (
        f"#!/bin/sh\n{directives}\n\n# Stopped, the run exits 75; slurm.conf needs: {REQUEUE_LINE}\n"
        f"exec {shlex.join(command)}\n"
    )


def _file_name(log: Path) -> str:
    """A file's name as sbatch reads one: `%` begins a pattern, quotes hold words together, as in a shell."""
    if any(character in str(log) for character in "\r\n\\"):
        raise InputError(f"{str(log)!r}: sbatch takes no line feed or backslash in the name of a job's log")
    return shlex.quote(str(log).replace("%", "%%"))
