"""SIGKILL at named system calls and at random moments: a run goes on, and ends with the bytes of an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.trainer.conftest import SHA256, command, environment
from tests.trainer.interrupted_runs import TINY, Ended, Runs, files_that_count

from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.training.records.attempts import read_attempts

MOMENTS = {
    "the ledger's header": ("write", 1, "ledger.jsonl"),
    "the attempt's first line": ("fsync", 1, "attempts.jsonl"),
    "the first step's line": ("write", 2, "ledger.jsonl"),
    "a checkpoint's folder": ("mkdir", 3, ""),
    "the room for its tensors": ("ftruncate", 1, ""),
    "the mode of its document": ("fchmod", 1, ""),
    "its document on the disk": ("fsync", 2, ""),
    "its document's name": ("rename", 1, ""),
    "the ledger on the disk before it": ("fsync", 4, ""),
    "its own name": ("rename", 2, ""),
    "its line in the ledger": ("write", 6, "ledger.jsonl"),
    "the next checkpoint's name": ("rename", 4, ""),
}
"""What is being written → system call, which one of its kind in its thread, and which file (any where empty)."""


@pytest.fixture(scope="module")
def runs(snapshot: OpenSnapshot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    found = Runs(snapshot, tmp_path_factory.mktemp("runs"), TINY.format(sha256=SHA256))
    yield found
    found.close()


def killing(call: str, when: int, path: str = "") -> Callable[[int], subprocess.Popen[str]]:
    """Attach strace(1) to a process; it gets SIGKILL when it enters that call."""

    def attach(pid: int) -> subprocess.Popen[str]:
        inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={when}"]
        argv = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", *inject, *(["-P", path] if path else [])]
        tracer = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
        assert tracer.stderr
        said = tracer.stderr.readline()
        while "attached" not in said:  # with a path filter, it says first what the path resolves to
            assert said, "strace has ended"
            said = tracer.stderr.readline()
        return tracer

    return attach


def start_killed(runs: Runs, output: Path, moment: str) -> Ended:
    call, when, name = MOMENTS[moment]
    return runs.start(output, tracer=killing(call, when, str(output / name) if name else ""))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_while_it_writes_goes_on(moment: str, runs: Runs, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert start_killed(runs, output, moment).code == -signal.SIGKILL
    ended = runs.start(output)
    assert ended.code == 0, ended.error
    assert files_that_count(output) == files_that_count(runs.first)


def test_three_kills_in_one_epoch_change_nothing(runs: Runs, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for moment in ("the first step's line", "its own name", "its line in the ledger"):
        assert start_killed(runs, output, moment).code == -signal.SIGKILL
    ended = runs.start(output)
    assert ended.code == 0, ended.error
    assert [each.why for each in read_attempts(output)] == ["killed", "killed", "killed", "finished"]
    assert files_that_count(output) == files_that_count(runs.first)


def test_a_full_disk_ends_the_run_and_with_room_it_goes_on(runs: Runs, small_disk: Path) -> None:
    output = small_disk / "out"
    output.mkdir()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 100_000))  # room for one checkpoint of 80 kB
    full = runs.start(output)
    assert full.code == 74
    assert "No space left" in full.error and "Traceback" not in full.error
    filler.unlink()
    ended = runs.start(output)
    assert ended.code == 0, ended.error
    assert files_that_count(output) == files_that_count(runs.first)


def test_it_goes_on_at_another_time_on_another_host_in_another_folder(
    runs: Runs, snapshot: OpenSnapshot, tmp_path: Path
) -> None:
    """The clock runs backwards a year and fifty times too fast; name, locale, home and hash seed are others."""
    output = tmp_path / "out"
    assert start_killed(runs, output, "the next checkpoint's name").code == -signal.SIGKILL
    (tmp_path / "elsewhere").mkdir()
    renamed = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "-")
    argv = [*renamed, "faketime", "-f", "-1y x50", *command(runs.config.read_text(), snapshot, output)]
    changes = {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Kathmandu", "HOME": str(tmp_path), "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        argv, env=environment(changes), cwd=tmp_path / "elsewhere", check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert files_that_count(output) == files_that_count(runs.first)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_kills_at_random_moments_change_nothing(runs: Runs, tmp_path: Path) -> None:
    began = time.monotonic()
    runs.start(tmp_path / "timed")
    duration, seed = time.monotonic() - began, random.randrange(2**32)
    moments, kills, finished = random.Random(seed), 0, 0
    while kills < 100:
        output = tmp_path / f"out-{finished}"
        while True:
            timer: list[threading.Timer] = []
            began = time.monotonic()
            ended = runs.start(output, tracer=_killer(moments.uniform(0, duration), timer))
            timer[0].cancel()
            if ended.code == 0:
                duration = min(duration, time.monotonic() - began)  # the machine may have been busy before
                break
            assert ended.code == -signal.SIGKILL, (seed, kills, ended.error)
            kills += 1
        finished += 1
        assert files_that_count(output) == files_that_count(runs.first), (seed, kills)
    print(f"{kills} kills at random moments (seed {seed}) in {finished} runs: the same bytes each time")


def _killer(delay: float, timer: list[threading.Timer]) -> Callable[[int], subprocess.Popen[str]]:
    def attach(pid: int) -> subprocess.Popen[str]:
        timer.append(threading.Timer(delay, _kill, (pid,)))
        timer[0].start()
        return subprocess.Popen(["true"], text=True)

    return attach


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
