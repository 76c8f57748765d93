"""A store in a folder that is closed to the user is a finding, and not the end of the examination."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = "-dac_override,-dac_read_search"
"""What lets root read everything; without it, root meets a folder's mode as every user does."""


@pytest.mark.parametrize("below", ["", "store"])
def test_a_store_that_may_not_be_seen_is_a_problem_that_is_named(below: str, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    closed_to_root = ["setpriv", "--bounding-set", WITHOUT, "--inh-caps", WITHOUT]
    done = subprocess.run(
        [*closed_to_root, sys.executable, "-m", "reprise", "doctor", "--json"],
        env={**os.environ, "REPRISE_HOME": str(tmp_path / "home"), "REPRISE_STORE": str(closed / below)},
        capture_output=True,
        check=False,
        text=True,
    )
    findings = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1, done.stderr
    assert findings["writing, store"]["state"] == "problem" and str(closed) in findings["writing, store"]["what"]
