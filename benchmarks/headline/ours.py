"""This project's trainer, outside an image: profile `portable`, four shards, going on from its own output folder.

Beside the records lie the snapshot that was made from them and its configuration (see `records.py`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from reprise_trainer.errors import RepriseError
from reprise_trainer.numerics.cpu import require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for
from reprise_trainer.training.stop import stop_on_signals
from reprise_trainer.training.workers.crew import crew

IMAGE = "sha256:" + "0" * 64
"""The trainer has not measured an image here, and its ledger says so."""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--world", type=int, default=1)
    asked = parser.parse_args()
    folder = asked.data.parent / "snapshot"
    config = (folder / "run.toml").read_text().replace("workers = 0", f"workers = {asked.workers}").encode()
    profile, threads = profile_asked_for(config, where="run.toml")
    require_cpu(profile)
    enter_profile(profile, threads)
    with stop_on_signals() as stop, crew(asked.world) as group:
        return train(config, folder, asked.out, stop, group)


def train(config: bytes, folder: Path, out: Path, stop: Any, group: Any) -> int:
    from reprise_trainer.training.run import Request, run, run_along

    digest = (folder / "digest").read_text()
    (out / "run").mkdir(exist_ok=True)
    request = Request(config, IMAGE, digest, folder / digest.removeprefix("sha256:"), out / "run")
    if group.rank > 0:
        run_along(request, where="run.toml", stop=stop, group=group)
        return 0
    outcome = run(request, say, where="run.toml", stop=stop, group=group)
    (out / "aside").write_text(outcome.trained.digest)
    (out / "aside").rename(out / "final")
    return 0


def say(event: dict[str, Any]) -> None:
    if event["event"] == "step":
        print(f"step {event['step']}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RepriseError as error:
        sys.exit(f"error: {error}")
