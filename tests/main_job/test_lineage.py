"""A run in the image that starts from another's checkpoint: signed, traced to its parent, and audited with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reprise.audit.evidence import load_evidence, verify_evidence
from reprise.audit.replay import audit
from reprise.checkpoints import keep_checkpoint
from reprise.runs import lineage, stored_runs
from reprise.train import Launcher
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import NotFoundError
from reprise_trainer.identity.bundle import read_public_key
from reprise_trainer.identity.launch import START_FOLDER
from reprise_trainer.training.checkpoints.signature import verify_checkpoint_signature
from reprise_trainer.training.ledger import FILE_NAME as LEDGER_FILE
from reprise_trainer.training.ledger import read_ledger
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE
from tests.main_job.conftest import Trains

START = '[start]\ncheckpoint = "base"\ninclude = ["*", "optimizer/*"]\n\n[evaluate]'


@pytest.mark.long
def test_a_run_is_traced_to_the_one_it_started_from(trains: Trains, launcher: Launcher, tmp_path: Path) -> None:
    base = trains("base")
    child = trains("child", ("[evaluate]", START))
    run = verify_evidence(load_evidence(child.output, launcher.store), launcher.run_policy)
    assert run.record.parent is not None
    assert (run.record.parent.state, run.record.parent.step) == (base.state_digest, 30)
    assert run.record.parent.record == sha256_digest((base.output / RECORD_FILE).read_bytes())
    assert read_ledger((child.output / LEDGER_FILE).read_bytes()).header.parent == base.state_digest

    key = read_public_key(run.chain.delegation.public_key)  # the launcher's word, not the file beside
    checkpoints = sorted((child.output / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["step-00000020", "step-00000030"]
    for path in checkpoints:
        verify_checkpoint_signature(path, key)

    assert audit(child.output, launcher).verdict == "same bits"
    shutil.rmtree(child.output / START_FOLDER)
    with pytest.raises(NotFoundError, match="comes without start/"):
        verify_evidence(load_evidence(child.output, launcher.store), launcher.run_policy)


@pytest.mark.long
def test_a_run_that_starts_from_the_store_is_the_same_and_is_audited_from_it(
    trains: Trains, launcher: Launcher, tmp_path: Path
) -> None:
    base = trains("base")
    kept = keep_checkpoint(base.output, launcher.store)
    by_folder = trains("folder", ("[evaluate]", START))
    shutil.rmtree(base.output)
    child = trains("child", ("[evaluate]", START.replace('"base"', f'"{kept.digest}"')))
    assert child.state_digest == by_folder.state_digest

    (found,) = [run for run in stored_runs(launcher.store) if run.digest == child.record]
    things = {thing.what: thing for thing in lineage(found, launcher.store)}
    assert things["parent checkpoint"].name == kept.digest and things["parent checkpoint"].held
    assert things["parent state"].name == base.state_digest

    shutil.rmtree(child.output)
    assert audit(child.record, launcher).verdict == "same bits"
