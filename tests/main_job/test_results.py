"""What has not changed is not done again: a finished run that is started again, and stages of one that has to go on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from reprise.audit.replay import audit
from reprise.project import Project
from reprise.train import Launcher, RunResult, train
from tests.main_job.conftest import Trains

CODE = """
def summary(record, folder):
    (folder / "summary.txt").write_text(record["finished"] + "\\n")
"""

STAGES = """[code]
folder = "own"

[stages.report]
function = "summaries:summary"

[evaluate]"""


@pytest.mark.long
def test_a_run_that_has_finished_is_done_again_only_as_far_as_something_changed(
    trains: Trains, launcher: Launcher, project: Project, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "summaries.py").write_text(CODE)
    first = trains("run", ("[evaluate]", STAGES))
    summary = first.output / "summary.txt"
    written = summary.read_text()

    def again(**how: Any) -> tuple[RunResult, list[str]]:
        events: list[dict[str, Any]] = []
        result = train(
            None, launcher, project, resume=first.output, on_event=lambda each: events.append(dict(each)), **how
        )
        assert (result.state_digest, result.metrics) == (first.state_digest, first.metrics)
        assert [path.name for path in tmp_path.glob("run/checkpoints/*.damaged")] == []
        return result, [str(each.get("message", each["event"])) for each in events]

    result, said = again()
    assert "train, evaluate, report: unchanged, reused" in said and not any("measured" in each for each in said)
    assert result.record == first.record and summary.read_text() == written

    summary.write_text("changed by hand")
    result, said = again()
    assert any("summary.txt was changed since its own report wrote it" in each for each in said)
    assert "evaluate: unchanged, reused" in said
    assert result.record != first.record and summary.read_text() != "changed by hand"

    result, said = again(fresh=True)
    assert not any("reused" in each for each in said)

    ledger = (first.output / "ledger.jsonl").read_bytes()
    for name, data in (("ledger.jsonl", ledger[:-1]), ("report.json", b"{}"), ("record.sigstore.json", b"{}")):
        (first.output / name).write_bytes(data)
        result, said = again()
        assert "train, evaluate, report: unchanged, reused" not in said, name
        assert (first.output / name).read_bytes() != data
    assert (first.output / "ledger.jsonl").read_bytes() == ledger

    shutil.rmtree(tmp_path / "own")  # the archive in the run's folder is what counts
    assert audit(result.output, launcher).verdict == "same bits"
