"""A job that Slurm stops goes back into the queue, and its run goes on: the same bytes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.slurm.conftest import Slurm
from tests.trainer.conftest import SHA256, command, environment, files, snapshot  # noqa: F401
from tests.trainer.interrupted_runs import TINY, files_that_count

from reprise.slurm import Job, job_script
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.training.records.attempts import read_attempts

LONGER = TINY.format(sha256=SHA256).replace("steps = 12", "steps = 4000").replace("every = 4", "every = 1000")


@pytest.mark.long
def test_a_job_that_gets_sigterm_is_requeued_and_ends_with_the_same_bytes(
    slurm: Slurm,
    snapshot: OpenSnapshot,  # noqa: F811
    tmp_path: Path,
) -> None:
    undisturbed, output = tmp_path / "undisturbed", tmp_path / "job"
    subprocess.run(command(LONGER, snapshot, undisturbed), env=environment(), check=True, capture_output=True)
    argv = ["env", f"PYTHONPATH={environment()['PYTHONPATH']}", *command(LONGER, snapshot, output)]
    script = tmp_path / "job.sh"
    script.write_text(job_script(argv, Job("tiny", 1), log=tmp_path / "log"))

    job = slurm("sbatch", "--parsable", str(script)).strip()
    ledger = output / "ledger.jsonl"
    end = time.monotonic() + 60
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") > 20):
        assert time.monotonic() < end, slurm("scontrol", "show", "job", job)
        time.sleep(0.05)
    slurm("scancel", "--signal=TERM", "--batch", job)
    assert slurm.wait_until(job, ("PENDING", "COMPLETED", "FAILED")) == "PENDING"
    assert slurm.wait_until(job, ("COMPLETED", "FAILED"), 120) == "COMPLETED", (tmp_path / "log").read_text()[-2000:]

    stopped, finished = read_attempts(output)
    assert "SIGTERM" in stopped.why and 20 < stopped.last_step == finished.first_step < 4000
    assert files_that_count(output) == files_that_count(undisturbed)


def test_the_script_names_what_it_needs_and_takes_no_lines(tmp_path: Path) -> None:
    script = job_script(["reprise", "train", "a b.toml"], Job("run", 4, 60, ("--time=8:00:00",)), log=tmp_path / "log")
    for line in ("--requeue", "--signal=B:TERM@60", "--cpus-per-task=4", "--time=8:00:00", "--open-mode=append"):
        assert f"#SBATCH {line}\n" in script
    assert script.endswith("exec reprise train 'a b.toml'\n") and "RequeueExit=75" in script
    for option in ("--time=1\nrm -r /", "time"):
        with pytest.raises(InputError, match="not an option of sbatch"):
            job_script(["true"], Job("run", 1, options=(option,)), log=tmp_path / "log")


def test_the_log_is_one_file_whatever_its_name_holds() -> None:
    script = job_script(["true"], Job("run", 1), log=Path("/runs/a b%j.log"))
    assert "#SBATCH --output='/runs/a b%%j.log'\n" in script
    for name in ("/runs/a\nrm -r /", "/runs/a\\b"):
        with pytest.raises(InputError, match="no line feed or backslash"):
            job_script(["true"], Job("run", 1), log=Path(name))


@pytest.mark.long
def test_slurm_writes_the_log_that_was_named(slurm: Slurm, tmp_path: Path) -> None:
    log = tmp_path / "it's a b%j #1.log"
    (tmp_path / "job.sh").write_text(job_script(["echo", "here"], Job("run", 1), log=log))
    job = slurm("sbatch", "--parsable", str(tmp_path / "job.sh")).strip()
    assert slurm.wait_until(job, ("COMPLETED", "FAILED")) == "COMPLETED"
    assert log.read_text() == "here\n"


def test_the_verb_prints_a_script_that_starts_the_run_or_goes_on(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "fashion-mnist.toml"
    argv = [sys.executable, "-m", "reprise", "slurm", str(example), "--output", str(tmp_path / "run")]
    done = subprocess.run(
        [*argv, "--workers", "2", "--sbatch", "--time=8:00:00"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "#SBATCH --time=8:00:00\n" in done.stdout and f"#SBATCH --output={tmp_path / 'run'}.log\n" in done.stdout
    assert f"train {example} --resume {tmp_path / 'run'} --engine namespaces --workers 2\n" in done.stdout
