"""Odd paths: what is written where, and what is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Reprise

CONFIG = "examples/fashion-mnist.toml"


@pytest.mark.parametrize(
    ("output", "log"), [("/", "/.log"), ("/runs/v1.2", "/runs/v1.2.log"), ("/runs/a", "/runs/a.log")]
)
def test_a_job_s_log_lies_beside_its_folder(output: str, log: str, reprise: Reprise) -> None:
    done = reprise("slurm", CONFIG, "--output", output)
    assert done.code == 0 and f"#SBATCH --output={log}\n" in done.out


def test_a_loop_of_links_is_one_message(reprise: Reprise, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[keys]]\nname = "own"\npublic_key = """\n{reprise("key").out}"""\n')
    for tool in ("containerd", "containers", "kubernetes"):
        done = reprise("policy", "export", "--for", tool, "--output", loop, "--policy", policy)
        assert done.code == 74 and "loop" in done.err, done.err
    assert reprise("build", "torch-cpu", "--project", loop).code == 74
    assert reprise("slurm", CONFIG, "--output", loop).code == 74
