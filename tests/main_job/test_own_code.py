"""A model of one's own in the image: its code goes with the run and its record, and an audit runs it again."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from reprise.audit.evidence import load_evidence, verify_evidence
from reprise.audit.replay import audit
from reprise.project import Project
from reprise.snapshots import prepare_snapshot
from reprise.train import Launcher, RunResult, run_training, train
from reprise_trainer.config.overrides import parse_override
from reprise_trainer.errors import DoesNotHoldError, NotFoundError
from reprise_trainer.identity.launch import CODE_FILE
from tests.main_job.conftest import CHECKOUT

SHORTER = [parse_override(text) for text in ("train.steps=4", "model.options.width=4", "evaluate.batch_size=1000")]


@pytest.fixture(scope="module")
def own_run(launcher: Launcher, project: Project, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run of examples/own-torch.toml, cut down to 4 steps."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(CHECKOUT / "examples", folder / "examples")
    config = folder / "examples/own-torch.toml"
    text = config.read_text()
    assert "epochs = 1\n" in text
    config.write_text(text.replace("epochs = 1\n", ""))
    return train(config, launcher, project, overrides=SHORTER, output=folder / "run")


def test_what_was_kept_gives_the_same_bits_again(own_run: RunResult, launcher: Launcher, tmp_path: Path) -> None:
    kept = verify_evidence(load_evidence(own_run.record, launcher.store), launcher.run_policy)
    snapshot = prepare_snapshot(kept.config.data, launcher.store)
    again = run_training(
        kept.config_bytes, own_run.image_digest, snapshot, launcher, code=kept.code, output=tmp_path / "again"
    )
    assert (again.ledger_head, again.state_digest) == (own_run.ledger_head, own_run.state_digest)


@pytest.mark.long
def test_an_audit_trains_the_same_code_again(own_run: RunResult, launcher: Launcher) -> None:
    report = audit(own_run.output, launcher)
    assert report.verdict == "same bits", report


def test_the_code_is_kept_with_the_record(own_run: RunResult, launcher: Launcher) -> None:
    code = (own_run.output / CODE_FILE).read_bytes()
    assert launcher.store.files(own_run.record)[CODE_FILE] == code
    verified = verify_evidence(load_evidence(own_run.record, launcher.store), launcher.run_policy)
    assert verified.config.code is not None
    assert verified.config.code.sha256 == hashlib.sha256(code).hexdigest() and verified.code == code


def test_other_code_beside_the_record_does_not_hold(own_run: RunResult, launcher: Launcher, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(own_run.output, tmp_path / "run"))
    (copied / CODE_FILE).write_bytes((own_run.output / CODE_FILE).read_bytes() + b"\0" * 512)
    with pytest.raises(DoesNotHoldError, match=r"code\.tar is sha256:"):
        verify_evidence(load_evidence(copied, launcher.store), launcher.run_policy)
    (copied / CODE_FILE).unlink()
    with pytest.raises(NotFoundError, match=r"comes without code\.tar"):
        verify_evidence(load_evidence(copied, launcher.store), launcher.run_policy)
