"""Records a second, the first batch at position 10**9, and index generation: `batch(step)` against other loaders.

Fashion-MNIST's 60,000 training records, each loader's in its own format on the local disk (raw shards; NumPy arrays
for torch's DataLoader; ArrayRecord for Grain; MDS for MosaicML Streaming), shuffled, in batches of 128 that are really
read. Each measurement is a process of its own; all take turns, and medians count. torch is this environment's own; the
other two get an environment each below .cache, since they want other versions beside them.

Prints a line `PEER RATIO` for each peer: our records a second over theirs. Ends with 1 when a ratio is below 1, the
first batch at position 10**9 takes 10 ms or more, or indices come slower than 4 million a second.

Run: .venv/bin/python benchmarks/data_order.py [--rounds N] [dataloader] [grain] [streaming]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from reprise.artifacts.fetch import fetch
from reprise.lock.environment import read_environment
from reprise.project import Project
from reprise.run_config import load_config
from reprise.snapshots import data_artifacts, prepare_snapshot
from reprise.store import Store
from reprise_trainer.data.batches import open_columns
from reprise_trainer.data.order import BLOCK, permute
from reprise_trainer.data.snapshot import open_snapshot

CHECKOUT = Path(__file__).parents[1]
LOADERS = Path(__file__).parent / "loaders"
ENVIRONMENTS = CHECKOUT / ".cache" / "benchmarks"

PEERS = {"dataloader": "torch_loader.py", "grain": "grain_loader.py", "streaming": "streaming_loader.py"}
REQUIREMENTS = {"grain": ["grain==0.2.18"], "streaming": ["mosaicml-streaming==0.13.0"]}
"""Peer → what its environment installs; a peer without a row runs in ours."""

ROUNDS, BATCH = 5, 128
FAR_LIMIT = 0.010
"""Seconds that the first batch at position 10**9 may take."""

INDEX_LIMIT = 4e6
"""Indices a second that are asked for, whatever the number of records."""

SIZES = (60_000, 10**7, 4**12 + 1, 10**9)
"""Numbers of records whose indices are measured; 4**12 + 1 has the longest walks, in a network four times as large."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Loaders side by side.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("peers", nargs="*", default=list(PEERS), metavar="PEER")
    asked = parser.parse_args()
    if unknown := set(asked.peers) - PEERS.keys():
        parser.error(f"unknown peer {unknown.pop()}; there are {', '.join(PEERS)}")
    pythons = {peer: python_of(peer) for peer in asked.peers}
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        folder = Path(name)
        write_records(folder)
        found: dict[str, list[dict[str, Any]]] = {each: [] for each in ("ours", *asked.peers)}
        for _ in range(asked.rounds):
            found["ours"].append(measure(Path(sys.executable), "reprise_loader.py", folder))
            for peer in asked.peers:
                found[peer].append(measure(pythons[peer], PEERS[peer], folder))
    for loader, rounds in found.items():
        rate = median(rounds, "records_per_second")
        print(f"{loader}: {rate:,.0f} records/s, {far_text(rounds)} ({rounds[0]['version']})")
    slowest = print_index_rates(asked.rounds)
    ours = median(found["ours"], "records_per_second")
    ratios = {peer: ours / median(found[peer], "records_per_second") for peer in asked.peers}
    for peer, ratio in ratios.items():
        print(f"{peer} {ratio:.2f}")
    held = min(ratios.values(), default=1) >= 1 and slowest >= INDEX_LIMIT
    return 0 if held and median(found["ours"], "first_far") < FAR_LIMIT else 1


def write_records(folder: Path) -> None:
    """The snapshot, and the same records as two NumPy files from which each peer writes its own."""
    config = CHECKOUT / "examples" / "fashion-mnist.toml"
    parsed = load_config(config).config
    store, project = Store.open(), Project.find(CHECKOUT)
    sources = read_environment(project.environment_file(parsed.run.environment)).sources
    fetch(data_artifacts(parsed.data, store, base=config.parent), store, sources)
    snapshot = prepare_snapshot(parsed.data, store)
    (folder / "snapshot").symlink_to(snapshot.folder)
    source = open_snapshot(snapshot.folder, expected=snapshot.digest)
    for name, column in open_columns(source, "train").items():
        np.save(folder / f"{name}.npy", column.take(np.arange(source.snapshot.split("train").records)))


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


def measure(python: Path, program: str, folder: Path) -> dict[str, Any]:
    """One measurement: what the program prints on its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python, LOADERS / program, folder, str(BATCH)], env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{program} ended with status {done.returncode}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def median(rounds: list[dict[str, Any]], key: str) -> float:
    return statistics.median(each[key] for each in rounds)


def far_text(rounds: list[dict[str, Any]]) -> str:
    if rounds[0]["first_far"] is None:
        return "no batch at position 10^9"
    return f"first batch at position 10^9 in {median(rounds, 'first_far') * 1000:.2f} ms"


def print_index_rates(rounds: int) -> float:
    """Indices a second of processor time for each size, a block at a time as batches ask; the lowest median."""
    rates = {}
    for size in SIZES:
        times = []
        for number in range(10 * rounds + 1):
            places = (np.arange(BLOCK) + number * BLOCK) % size
            start = time.process_time()
            permute(1, number, size, places)
            times.append(time.process_time() - start)
        rates[size] = BLOCK / statistics.median(times[1:])
        print(f"indices of {size:,} records: {rates[size] / 1e6:.1f} M/s")
    return min(rates.values())


if __name__ == "__main__":
    sys.exit(main())
