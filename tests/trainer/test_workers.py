"""Any number of workers gives the same bits; a worker that dies ends the run, soon and in words."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import program
from tests.trainer.conftest import SHA256, command, environment
from tests.trainer.interrupted_runs import STEPS, TINY, Runs, files_that_count

from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.records.attempts import read_attempts

LONG = TINY.replace("steps = 12", "steps = 200000")
BESIDE: dict[str, object] = {"workers": 0, "machines": []}
"""What a result says of the workers themselves, which are not part of a run's bits."""

TORCHRUN = ("-m", "reprise_trainer.torchrun", "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint")


def config(backend: str, text: str = TINY) -> str:
    return text.format(sha256=SHA256).replace("[train]", f'[train]\nbackend = "{backend}"')


def start(text: str, snapshot: OpenSnapshot, output: Path, *workers: str) -> subprocess.Popen[str]:
    argv = [*command(text, snapshot, output), "", *workers]
    return subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, object]:
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    found: dict[str, object] = json.loads([line for line in out.splitlines() if line.startswith('{"ledger"')][-1])
    return found


@pytest.fixture(scope="module")
def runs(snapshot: OpenSnapshot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    found = Runs(snapshot, tmp_path_factory.mktemp("runs"), config("torch"))
    yield found
    found.close()


def test_one_two_and_four_workers_give_the_same_bytes(runs: Runs, tmp_path: Path) -> None:
    alone = runs.start(tmp_path / "one")
    for workers in (2, 4):
        ended = runs.start(tmp_path / str(workers), workers=workers)
        assert ended.code == 0, ended.error
        assert {**ended.result, **BESIDE} == {**alone.result, **BESIDE}
        assert files_that_count(tmp_path / str(workers)) == files_that_count(tmp_path / "one")


def test_the_number_of_workers_may_change_at_each_resume(runs: Runs, tmp_path: Path) -> None:
    runs.start(tmp_path / "one")
    output = tmp_path / "changing"
    for workers, step in ((4, 2), (1, 5), (2, 9)):
        stopped = runs.start(output, workers=workers, signal_at=("step", step, signal.SIGTERM))
        assert stopped.code == 75, stopped.error
    ended = runs.start(output, workers=4)
    assert ended.code == 0, ended.error
    assert files_that_count(output) == files_that_count(tmp_path / "one")
    assert len(ended.result["attempts"]) == 4


def test_a_signal_to_any_worker_stops_them_all_after_the_same_step(runs: Runs, tmp_path: Path) -> None:
    output = tmp_path / "out"
    stopped = runs.start(output, workers=2, signal_at=("step", 5, signal.SIGTERM, True))
    assert stopped.code == 75, stopped.error
    assert "stopped by a signal to another worker" in stopped.error
    assert runs.start(output, workers=2).code == 0
    assert files_that_count(output) == files_that_count(runs.first)


@pytest.mark.parametrize("workers", [2, 4])
def test_jax_gives_the_same_bytes_by_any_number_of_workers(
    workers: int, snapshot: OpenSnapshot, tmp_path: Path
) -> None:
    several = start(config("jax"), snapshot, tmp_path / "several", str(workers))
    alone = result(start(config("jax"), snapshot, tmp_path / "one"))
    assert {**result(several), **BESIDE} == {**alone, **BESIDE}
    assert files_that_count(tmp_path / "several") == files_that_count(tmp_path / "one")


def test_by_jax_distributed_it_is_the_same_run(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    port, argv = free_port(), command(config("jax"), snapshot, tmp_path / "two")
    slurm = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    both = [
        subprocess.Popen(
            argv,
            env={**environment(), **slurm, "SLURM_PROCID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    together = result(both[0])
    _, error = both[1].communicate(timeout=60)
    assert both[1].returncode == 0, error
    alone = result(start(config("jax"), snapshot, tmp_path / "one"))
    assert {**together, **BESIDE} == {**alone, **BESIDE}
    assert files_that_count(tmp_path / "two") == files_that_count(tmp_path / "one")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_jax_goes_on_with_another_number_of_workers(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    text = config("jax")
    stopped = start(text, snapshot, tmp_path / "four", "4")
    assert stopped.stdout
    for line in stopped.stdout:
        if '"step"' in line:
            stopped.send_signal(signal.SIGTERM)
            break
    _, error = stopped.communicate(timeout=240)
    assert stopped.returncode == 75, error
    resumed = result(start(text, snapshot, tmp_path / "four"))
    first, second = resumed["attempts"]  # type: ignore[misc]
    assert "SIGTERM" in first[0] and first[2] == second[1] < STEPS
    result(start(text, snapshot, tmp_path / "one"))
    assert files_that_count(tmp_path / "four") == files_that_count(tmp_path / "one")


def torchrun(text: str, snapshot: OpenSnapshot, output: Path) -> subprocess.Popen[str]:
    _, runner, *arguments = command(text, snapshot, output)
    argv = [sys.executable, *TORCHRUN, "127.0.0.1:0", runner, *arguments]
    return subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_under_torchrun_it_is_the_same_run_and_a_stop_is_exit_code_75(
    runs: Runs, snapshot: OpenSnapshot, tmp_path: Path
) -> None:
    output = tmp_path / "two"
    stopped = torchrun(config("torch"), snapshot, output)
    assert stopped.stdout
    for line in stopped.stdout:
        if '"step"' in line:
            stopped.send_signal(signal.SIGTERM)
            break
    _, error = stopped.communicate(timeout=240)
    assert stopped.returncode == 75, error
    (attempt,) = read_attempts(output)
    assert "SIGTERM" in attempt.why or "a signal to another worker" in attempt.why
    result(torchrun(config("torch"), snapshot, output))
    assert files_that_count(output) == files_that_count(runs.first)


def test_a_killed_worker_is_named_and_the_run_goes_on(runs: Runs, tmp_path: Path) -> None:
    output = tmp_path / "out"
    began = time.monotonic()
    ended = runs.start(output, workers=2, signal_at=("step", 6, signal.SIGKILL, True))
    assert time.monotonic() - began < 30
    assert ended.code == 69
    assert "worker 1 was ended by SIGKILL" in ended.error and "Traceback" not in ended.error
    assert runs.start(output, workers=2).code == 0
    assert files_that_count(output) == files_that_count(runs.first)


SHARED = """
import sys, time
from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError
from reprise_trainer.training.workers import crew

crew.END_SECONDS = 0.5
try:
    with crew.crew(2) as group:
        if group.rank == 0:
            {first}
            time.sleep(2)  # a checkpoint that the others don't wait for
        raise {error}("all see it")
except RepriseError as error:
    print(f"error: {{error.message}}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    ("error", "first", "code"),
    [("InputError", "pass", 65), ("DoesNotHoldError", "group.leaving()", 1)],
    ids=["to come to it", "to write"],
)
def test_an_error_that_all_share_gives_the_first_its_time(error: str, first: str, code: int) -> None:
    argv = [sys.executable, "-c", SHARED.format(error=error, first=first)]
    ended = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.splitlines() == ["worker 1: all see it", "error: all see it"]


def test_a_training_that_diverges_in_all_workers_leaves_its_record(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    diverging = config("torch").replace('kind = "adamw"', 'kind = "sgd"').replace("lr = 0.01", "lr = 1e30")
    output = tmp_path / "out"
    _, runner, *arguments = command(diverging.replace("every = 4", "every = 1"), snapshot, output)
    argv = [sys.executable, str(Path(runner).with_name("slow_disk.py")), "3", "0.5", *arguments, "", "2"]
    ended = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 65, ended.stderr
    assert "worker 1: step " in ended.stderr and "see " in ended.stderr and "does not end by itself" not in ended.stderr
    (attempt,) = read_attempts(output)
    failed = json.loads((output / "failure" / "failure.json").read_bytes())
    assert failed["checkpoint"][0] == failed["step"] and f"step {failed['step']}: " in attempt.why


@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_ends_the_run_soon_and_in_words(
    victim: int, backend: str, snapshot: OpenSnapshot, tmp_path: Path
) -> None:
    process = start(config(backend, LONG), snapshot, tmp_path / "out", "2")
    assert process.stdout and process.stderr
    for line in process.stdout:
        if '"step"' in line:
            break
    (other,) = children(process.pid)
    os.kill((process.pid, other)[victim], signal.SIGKILL)
    began = time.monotonic()
    for _ in process.stdout:
        pass
    error = process.stderr.read()
    code = process.wait(timeout=60)
    assert time.monotonic() - began < 30
    if victim == 1:
        assert code == 69
        assert "worker 1 was ended by SIGKILL" in error and "Traceback" not in error
    assert not Path(f"/proc/{other}").exists() or "Z" in Path(f"/proc/{other}/stat").read_text()


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_record_has_every_workers_machine(runs: Runs, tmp_path: Path) -> None:
    alone, several = runs.start(tmp_path / "one"), runs.start(tmp_path / "four", workers=4)
    assert len(alone.result["machines"]) == 1
    assert several.result["machines"] == alone.result["machines"] * 4


@pytest.mark.parametrize(("backend", "operation"), [("torch", "layer norm"), ("jax", "quick exp")])
def test_a_worker_whose_machine_computes_otherwise_ends_the_run_before_it_begins(
    backend: str, operation: str, snapshot: OpenSnapshot, tmp_path: Path
) -> None:
    _, runner, *arguments = command(config(backend), snapshot, tmp_path / "out")
    argv = [sys.executable, str(Path(runner).with_name("tampered_worker.py")), "1", operation, *arguments, "", "2"]
    ended = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 1, ended.stderr
    assert "error: the workers' machines don't compute alike: worker 1 (" in ended.stderr
    assert f"in {operation}\n" in ended.stderr and "Traceback" not in ended.stderr
    assert not (tmp_path / "out" / "ledger.jsonl").exists() and '"step"' not in ended.stdout


@pytest.mark.long
@pytest.mark.timeout(900)
def test_hosts_with_cpus_of_two_makers_end_before_step_0(snapshot: OpenSnapshot, tmp_path: Path) -> None:
    text = config("torch").replace("[run]", '[run]\nprofile = "x86-64-v3"')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = "Haswell" if read_cpuinfo()["vendor_id"] == "AuthenticAMD" else "EPYC"
    emulator = [program("qemu-x86_64", "qemu-user"), "-cpu", other]
    both = []
    for rank, prefix in enumerate(([], emulator)):
        launcher = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        switches = PROFILES["x86-64-v3"].switches(1)  # from outside: who starts itself again leaves the emulator
        variables = environment({**launcher, **meeting, **switches})
        argv = [*prefix, *command(text, snapshot, tmp_path / "out")]
        both.append(subprocess.Popen(argv, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for process in both:
        said, error = process.communicate(timeout=800)
        assert process.returncode == 1, error
        assert "worker 1 (" in error and "has other bits than worker 0 (" in error
        assert "exp" in error and '"step"' not in said


@pytest.mark.parametrize("workers", [3, 8])
def test_workers_that_can_not_share_the_shards_are_told_who_could(workers: int, runs: Runs, tmp_path: Path) -> None:
    ended = runs.start(tmp_path / "out", workers=workers)
    assert ended.code == 65
    assert f"{workers} workers can't share 4 logical shards evenly; 1, 2, 4 would do" in ended.error
    assert not (tmp_path / "out" / "ledger.jsonl").exists()
