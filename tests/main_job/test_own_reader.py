"""A run on data that a reader of the user's own made: the audit makes them again from the store, by the same code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reprise.audit.replay import audit
from reprise.project import Project
from reprise.train import Launcher, train
from tests.main_job.conftest import CHECKOUT


@pytest.mark.long
def test_an_audit_reads_the_data_with_the_readers_code_from_the_store(
    launcher: Launcher, project: Project, tmp_path: Path
) -> None:
    shutil.copytree(CHECKOUT / "examples" / "own-data", tmp_path / "example")
    run = train(tmp_path / "example" / "run.toml", launcher, project, output=tmp_path / "run")
    assert run.metrics["correct"] >= 10 and run.metrics["total"] == 12
    shutil.rmtree(tmp_path / "example")
    assert audit(run.output, launcher).verdict == "same bits"
