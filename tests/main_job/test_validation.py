"""A run inside its image that is validated while it trains: its launcher is told of each, and an audit of all."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from reprise.audit.replay import audit
from reprise.project import Project
from reprise.train import Launcher, train

TEXT = "".join(f"{n} times {n} is {n * n}, and that is all there is to it.\n" for n in range(99))

CONFIG = f"""
[run]
name = "validated"
environment = "torch-cpu"
profile = "x86-64-v3"
seed = 1
threads = 1

[data]
kind = "text"
name = "sums"
file = "text.txt"
sha256 = "{sha256(TEXT.encode()).hexdigest()}"
block = 16
duplicates = "allow"
leakage = "allow"
splits = {{ validation = 0.2 }}

[model]
kind = "gpt"
layers = 1
heads = 1
width = 16

[train]
steps = 30
batch_size = 8
shards = 2

[train.optimizer]
kind = "adamw"
lr = 0.01

[checkpoint]
every = 10

[validation]
every = 10

[evaluate]
split = "validation"
batch_size = 50
"""


def test_a_launcher_is_told_of_each_validation(launcher: Launcher, project: Project, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "run.toml").write_text(CONFIG)
    events: list[dict[str, Any]] = []
    run = train(
        tmp_path / "run.toml",
        launcher,
        project,
        output=tmp_path / "run",
        on_event=lambda event: events.append(dict(event)),
    )
    losses = [float.fromhex(event["loss"]) for event in events if event["event"] == "validated"]
    assert len(losses) == 3 and losses == sorted(losses, reverse=True)
    assert audit(run.output, launcher).verdict == "same bits"
