"""`reprise slurm`: a batch script for Slurm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import ConfigArgument, EngineOption, RunWorkersOption


def command(
    config: ConfigArgument,
    output: Annotated[
        Path, typer.Option("--output", help="Folder of the run, the same at each attempt.", metavar="DIR")
    ],
    engine: EngineOption = "namespaces",
    workers: RunWorkersOption = 1,
    lead: Annotated[
        int, typer.Option("--lead", min=1, help="Seconds before the end of its time that the job gets SIGTERM.")
    ] = 120,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", help="An option of sbatch, such as --time=8:00:00; again for more.", metavar="OPTION"),
    ] = None,
) -> None:
    """Print a batch script that runs CONFIG as one job: stopped it goes back into the queue, and goes on.

    slurm.conf needs RequeueExit=75. One job is one container on one node, with `--workers` processes in it.

    Example: `reprise slurm run.toml --output runs/a --sbatch --time=8:00:00 > job.sh; sbatch job.sh`
    """
    from reprise.run_config import load_config
    from reprise.slurm import Job, job_script
    from reprise_trainer.training.workers.group import own_shards

    found = load_config(config).config
    own_shards(0, workers, found.train.shards)  # rather now than after the wait in the queue
    run = found.run
    train = [sys.executable, "-m", "reprise", "train", str(config.resolve()), "--resume", str(output.resolve())]
    options = ["--engine", engine, "--workers", str(workers)]
    job = Job(run.name, workers * run.threads, lead, tuple(sbatch or ()))
    print(job_script([*train, *options], job, log=Path(f"{output.resolve()}.log")), end="")
