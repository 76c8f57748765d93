"""`reprise train` is stopped by a signal, and goes on: one run, one record, the bits of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from reprise.run_record import check_record
from reprise.store import Store
from reprise.train import Launcher
from reprise.trust.keys import private_pem
from tests.main_job.conftest import CHECKOUT, Trains

LENGTH = ("steps = 30", "steps = 300"), ("every = 20", "every = 100")


def test_sigterm_leaves_a_checkpoint_and_resume_goes_on_from_it(
    trains: Trains, launcher: Launcher, shared_store: Store, tmp_path: Path
) -> None:
    undisturbed = trains("undisturbed", *LENGTH)
    home, output = tmp_path / "home", tmp_path / "run"
    home.mkdir(mode=0o700)
    key = home / "signing-key.pem"
    key.touch(mode=0o600)
    key.write_bytes(private_pem(launcher.key))
    environment = {**os.environ, "REPRISE_HOME": str(home), "REPRISE_STORE": str(shared_store.root)}
    command = [sys.executable, "-m", "reprise", "train", "--resume", str(output), "--json"]

    first = [*command, str(tmp_path / "undisturbed.toml")]
    with subprocess.Popen(
        first, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "train step" in line:
                process.send_signal(signal.SIGTERM)
                break
        said = process.stderr.read()
    assert process.returncode == 75, said
    assert "stopped by SIGTERM after step" in said and f"--resume {output} in place of" in said

    second = subprocess.run([*command, "--workers", "2"], cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    run = json.loads(second.stdout)
    assert (run["ledger_head"], run["state_digest"]) == (undisturbed.ledger_head, undisturbed.state_digest)
    record = check_record(output, launcher.run_policy)
    assert record.run == run["run"] and len(record.checkpoints) == 3
    stopped, finished = record.attempts
    assert "SIGTERM" in stopped.why and finished.why == "finished"
    assert 0 < stopped.last_step == finished.first_step < 300
    assert (stopped.workers, finished.workers) == (1, 2)
