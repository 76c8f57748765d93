"""The price of bits that don't depend on the number of workers: our tree over 4 logical shards against plain DDP.

A character GPT (4 layers, 4 heads, 128 wide, block 64, batch 12), AdamW, one thread a worker, 1, 2 and 4 workers on
this machine. Ours is the trainer's own loop, with what its ledger needs; the peers `ddp-1`, `ddp-2` and `ddp-4` are
torch's DistributedDataParallel over gloo with torch's own fused AdamW, each worker on a slice of the same batches. All
take turns; a measurement is a group of processes of its own; medians count. It says how many different results each
side had: ours one, DDP one for each number of workers.

Says what a step of ours costs in steps of DDP with as many workers, and ends with 1 where that is above its limit, or
where ours had not the same gradient each time. The lines `PEER RATIO` are our steps a second over theirs.

Run: .venv/bin/python benchmarks/workers.py [--rounds N] [--steps N] [ddp-1] [ddp-2] [ddp-4]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from reprise_trainer.numerics.profiles import PROFILES

PEERS = {"ddp-1": 1, "ddp-2": 2, "ddp-4": 4}
LIMITS = {1: 1.35, 2: 1.10, 4: 1.10}
"""Workers → the most that we may take, relative to DDP."""

ROUNDS, STEPS = 5, 60
STEP = Path(__file__).parent / "steps"


def main() -> int:
    parser = argparse.ArgumentParser(description="Workers side by side.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("peers", nargs="*", default=list(PEERS), metavar="PEER")
    asked = parser.parse_args()
    if unknown := set(asked.peers) - PEERS.keys():
        parser.error(f"unknown peer {unknown.pop()}; there are {', '.join(PEERS)}")

    times: dict[str, list[float]] = {name: [] for peer in asked.peers for name in (peer, f"ours-{PEERS[peer]}")}
    results: dict[str, set[str]] = {"ours": set(), "ddp": set()}
    for _ in range(asked.rounds):
        for name in times:
            kind, _, workers = name.partition("-")
            seconds, result = measure(kind, int(workers), asked.steps)
            times[name].append(seconds)
            results[kind].add(result)
    for name, seconds in times.items():
        print(f"{name}: {statistics.median(seconds) * 1e3:.1f} ms a step")
    print(f"different results: ours {len(results['ours'])}, ddp {len(results['ddp'])}")

    workers = {peer: PEERS[peer] for peer in asked.peers}
    costs = {
        peer: statistics.median(times[f"ours-{count}"]) / statistics.median(times[peer])
        for peer, count in workers.items()
    }
    for peer, cost in costs.items():
        print(f"{peer}: a step of ours costs {cost:.2f} of theirs, at most {LIMITS[workers[peer]]:.2f}")
    for peer, cost in costs.items():
        print(f"{peer} {1 / cost:.2f}")
    return 0 if len(results["ours"]) == 1 and all(costs[peer] <= LIMITS[workers[peer]] for peer in costs) else 1


def measure(kind: str, workers: int, steps: int) -> tuple[float, str]:
    """Seconds a step of one group of processes, and a digest of its last gradient or weights."""
    switches = PROFILES["x86-64-v3"].switches(1)
    script = STEP / f"{kind}_workers.py"
    argv = [sys.executable, str(script), str(workers), str(steps)]
    done = subprocess.run(argv, env=switches, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return float(found["seconds"]), str(found["result"])


if __name__ == "__main__":
    sys.exit(main())
