"""Run a configuration as the trainer does, outside an image: CONFIG SNAPSHOT DIGEST OUTPUT [START]. Prints JSON lines.

Started again on the same OUTPUT, it goes on.
"""

import json
import sys
from pathlib import Path

from reprise_trainer.errors import RepriseError
from reprise_trainer.numerics.cpu import require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for
from reprise_trainer.training.stop import stop_on_signals


def main() -> int:
    path, *rest = sys.argv[1:]
    config = Path(path).read_bytes()
    profile, threads = profile_asked_for(config, where=path)
    require_cpu(profile)
    enter_profile(profile, threads)
    return train(path, *rest)


def train(path: str, snapshot: str, digest: str, output: str, start: str = "") -> int:
    from reprise_trainer.training.run import Request, run

    config = Path(path).read_bytes()

    request = Request(
        config, "sha256:" + "1" * 64, digest, Path(snapshot), Path(output), Path(start) if start else None
    )
    with stop_on_signals() as stop:
        outcome = run(request, lambda event: print(json.dumps(event), flush=True), where=path, stop=stop)

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
                "metrics": outcome.evaluation.metrics(),
                "workers": outcome.workers,
                "attempts": [[each.why, each.first_step, each.last_step] for each in outcome.attempts],
                "proof": outcome.proof.status,
                "reasons": list(outcome.proof.reasons),
                **found,
            }
        )
    )
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RepriseError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
