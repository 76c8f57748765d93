"""Bundle, wipe, no network at all: load, verify, run. The same digest and the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from reprise.build import BuiltImage
from reprise.store import Store
from reprise.train import Launcher
from reprise_trainer.identity.policy import write_policy
from tests.main_job.conftest import Trains

WITHOUT_NETWORK = ("unshare", "--net", "--")


def test_one_file_takes_an_image_across_an_air_gap(
    trains: Trains, launcher: Launcher, torch_cpu: BuiltImage, shared_store: Store, tmp_path: Path
) -> None:
    expected = trains("here")
    gap = tmp_path / "gap"
    gap.mkdir()
    (gap / "policy.toml").write_text(write_policy(launcher.policy))
    (tmp_path / "here.toml").rename(gap / "run.toml")

    def reprise(*arguments: str, store: Path, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "REPRISE_"))},
            "REPRISE_STORE": str(store),
            "REPRISE_HOME": str(gap / "home"),
        }
        command = [*prefix, sys.executable, "-m", "reprise", *arguments, "--json"]
        done = subprocess.run(command, cwd=gap, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    taken = ("--config", "run.toml", "--policy", "policy.toml")
    written = reprise("bundle", "torch-cpu", "-o", "torch-cpu.tar", *taken, store=shared_store.root)
    assert written["image"] == torch_cpu.digest
    bare = gap / "store"  # an empty one: nothing of the first store is on this side
    loaded = reprise("load", "torch-cpu.tar", "--policy", "policy.toml", store=bare, prefix=WITHOUT_NETWORK)
    assert (loaded["image"], loaded["judged"], loaded["name"]) == (torch_cpu.digest, True, "torch-cpu")
    (gap / "torch-cpu.tar").unlink()
    judged = reprise("verify", "torch-cpu", "--policy", "policy.toml", store=bare, prefix=WITHOUT_NETWORK)
    assert judged["holds"]
    run = ("run", "torch-cpu", "run.toml", "--policy", "policy.toml", "--output", "out")
    result = reprise(*run, store=bare, prefix=WITHOUT_NETWORK)
    assert result["pulled"] is None and result["measured_digest"] == torch_cpu.digest
    assert (result["state_digest"], result["ledger_head"]) == (expected.state_digest, expected.ledger_head)
