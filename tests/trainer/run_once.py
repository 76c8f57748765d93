"""Run a configuration as the trainer does, outside an image: CONFIG SNAPSHOT DIGEST OUTPUT [START [WORKERS [FEED]]].

Prints JSON lines. Started again on the same OUTPUT, it goes on.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from reprise_trainer.errors import RepriseError
from reprise_trainer.numerics.cpu import require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for
from reprise_trainer.training.stop import Stop, stop_on_signals
from reprise_trainer.training.workers.crew import crew
from reprise_trainer.training.workers.group import SINGLE, Group, group_outside


def print_event(event: dict[str, Any]) -> None:
    print(json.dumps(event), flush=True)


def main() -> int:
    path, snapshot, digest, output, *rest = sys.argv[1:]
    start, workers, feed = [*rest, *["", "1", ""][len(rest) :]]
    config = Path(path).read_bytes()
    profile, threads = profile_asked_for(config, where=path)
    require_cpu(profile)
    enter_profile(profile, threads)
    outside = group_outside(os.environ)
    with stop_on_signals() as stop, nullcontext(outside) if outside else crew(int(workers)) as group:
        return train(path, snapshot, digest, output, start, stop=stop, group=group, feed=feed)


def train(
    path: str,
    snapshot: str,
    digest: str,
    output: str,
    start: str = "",
    *,
    stop: Stop,
    group: Group = SINGLE,
    emit: Callable[[dict[str, Any]], None] = print_event,
    feed: str = "",
) -> int:
    from reprise_trainer.training.run import Request, run, run_along

    config, begins = Path(path).read_bytes(), Path(start) if start else None
    asked = Path(feed) if feed else None
    request = Request(config, "sha256:" + "1" * 64, digest, Path(snapshot), Path(output), begins, feed=asked)
    if group.rank > 0:
        run_along(request, where=path, stop=stop, group=group)
        return 0
    outcome = run(request, emit, where=path, stop=stop, group=group)

    found = {}
    if outcome.backend == "torch":
        import torch

        found["threads"] = [torch.get_num_threads(), torch.get_num_interop_threads()]
        found["capability"] = torch.backends.cpu.get_cpu_capability()
    print(
        json.dumps(
            {
                "ledger": outcome.ledger_head,
                "state": outcome.trained.digest,
                "parent": outcome.parent and [outcome.parent.state, outcome.parent.step, outcome.parent.tensors],
                "checkpoints": outcome.trained.checkpoints,
                "metrics": outcome.evaluated["metrics"],
                "reused": outcome.reused,
                "workers": outcome.workers,
                "attempts": [[each.why, each.first_step, each.last_step] for each in outcome.attempts],
                "proof": outcome.proof.status,
                "reasons": list(outcome.proof.reasons),
                "machines": [[each.machine, each.operations] for each in outcome.proof.workers],
                **found,
            }
        )
    )
    return 0


def end() -> NoReturn:
    """Run, and end the process as the trainer's would: an error is one message and its exit code."""
    try:
        code = main()
    except RepriseError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    end()
