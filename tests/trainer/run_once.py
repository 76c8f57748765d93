"""Run a configuration as the trainer does, outside an image: CONFIG SNAPSHOT DIGEST OUTPUT. Prints JSON lines."""

import json
import sys
from pathlib import Path

from reprise_trainer.errors import RepriseError
from reprise_trainer.numerics.cpu import require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for


def main() -> int:
    path, snapshot, digest, output = sys.argv[1:]
    config = Path(path).read_bytes()
    profile, threads = profile_asked_for(config, where=path)
    require_cpu(profile)
    enter_profile(profile, threads)

    from reprise_trainer.training.run import Request, run

    request = Request(config, "sha256:" + "1" * 64, digest, Path(snapshot), Path(output))
    outcome = run(request, lambda event: print(json.dumps(event), flush=True), where=path)

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
                "checkpoints": outcome.trained.checkpoints,
                "metrics": outcome.evaluation.metrics(),
                "workers": outcome.workers,
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
