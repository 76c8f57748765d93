"""Writing a checkpoint with its digest, against other ways to save; and what a background one costs training.

The state is 256 MiB of float32 in 64 tensors; see checkpointers/. Ours is forced to the disk, and its digest is part of
the time; `torch-save` is torch.save and sha256sum, `orbax` its standard checkpointer without any digest. Each
measurement is a process of its own; all take turns, and medians count. Orbax gets an environment below .cache.

Prints a line `PEER RATIO` for each peer (their seconds over ours), and `memory-copy RATIO`: the pause of a background
checkpoint over one copy of the state into memory that is there. Ends with 1 when ours is slower than torch-save, or
the pause longer than 1.3 copies.

Run: .venv/bin/python benchmarks/checkpoint.py [--rounds N] [--folder FOLDER] [torch-save] [orbax]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "checkpointers"
ENVIRONMENTS = Path(__file__).parents[1] / ".cache" / "benchmarks"

PEERS = {"torch-save": "torch_save.py", "orbax": "orbax_checkpointer.py"}
REQUIREMENTS = {"orbax": ["orbax-checkpoint==0.11.36"]}
"""Peer → what its environment installs; a peer without a row runs in ours."""

ROUNDS, WRITES = 5, 3
PAUSE_LIMIT = 1.3
SIZE = 256 / 1024
"""GiB of the state."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Checkpoints side by side.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, help="on which disk to write; the system's temporary folder by default")
    parser.add_argument("peers", nargs="*", default=list(PEERS), metavar="PEER")
    asked = parser.parse_args()
    if unknown := set(asked.peers) - PEERS.keys():
        parser.error(f"unknown peer {unknown.pop()}; there are {', '.join(PEERS)}")
    pythons = {peer: python_of(peer) for peer in asked.peers}
    found: dict[str, list[dict[str, Any]]] = {each: [] for each in ("ours", *asked.peers)}
    for _ in range(asked.rounds):
        found["ours"].append(measure(Path(sys.executable), "reprise_checkpointer.py", asked.folder))
        for peer in asked.peers:
            found[peer].append(measure(pythons[peer], PEERS[peer], asked.folder))
    for name, rounds in found.items():
        print(f"{name}: {SIZE / median(rounds, 'write'):.2f} GiB/s ({rounds[0]['version']})")
    pause, copy = (median(found["ours"], each) for each in ("pause", "copy"))
    print(f"pause {pause * 1000:.0f} ms, one copy {copy * 1000:.0f} ms")
    ratios = {peer: median(found[peer], "write") / median(found["ours"], "write") for peer in asked.peers}
    for peer, ratio in ratios.items():
        print(f"{peer} {ratio:.2f}")
    print(f"memory-copy {pause / copy:.2f}")
    return 0 if ratios.get("torch-save", 1.0) >= 1 and pause <= PAUSE_LIMIT * copy else 1


def python_of(peer: str) -> Path:
    """The Python that a peer runs in; its environment is made the first time."""
    if peer not in REQUIREMENTS:
        return Path(sys.executable)
    folder = ENVIRONMENTS / peer
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[peer]], check=True)
        (folder / "complete").touch()
    return python


def measure(python: Path, program: str, parent: Path | None) -> dict[str, Any]:
    """One measurement in a new folder: what the program prints on its last line."""
    with tempfile.TemporaryDirectory(prefix="reprise-bench-", dir=parent) as folder:
        argv = [python, PROGRAMS / program, folder, str(WRITES)]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{program} ended with status {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def median(rounds: list[dict[str, Any]], key: str) -> float:
    return statistics.median(time for each in rounds for time in each[key])


if __name__ == "__main__":
    sys.exit(main())
