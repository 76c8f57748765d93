"""Steps a second of the trainer against hand-written loops of the same framework, and against Lightning.

Two models: the character GPT of nanoGPT's CPU setting (4 layers, 4 heads, 128 wide, 64 characters, batch 12) and a
CNN (convolutions of 32 and 64, 128 wide, batch 64), in profile `x86-64-v3` with one thread and one logical shard. The
peers have the same model code, switches, thread and AdamW. Each contender is a process, and they take turns by blocks
of steps, so that whatever else the machine does hits each alike; medians of the blocks' times count. Ours does
everything that it does in a run: batches from a snapshot, gradient sums, ledger lines.

A third column is the price of four logical shards on one worker; `apparatus` is the share of a step that batch, sums
and ledger take. The peers live in an environment of their own under `.cache/peers`, built at the first run.

Run: .venv/bin/python benchmarks/train_step.py [--blocks N] [--steps N] [--clock cpu] [gpt] [cnn]
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import statistics
import string
import struct
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE

import reprise_trainer
from reprise.environments import load_lock
from reprise.ingest.fashion_mnist import SPLIT_FILES, read_fashion_mnist
from reprise.ingest.text import read_text
from reprise.ingest.write import write_snapshot
from reprise.project import Project
from reprise.store import Store
from reprise_trainer.config.data import FashionMnistSection, TextSection
from reprise_trainer.data.snapshot import Source
from reprise_trainer.numerics.profiles import PROFILES

SHA256 = "0" * 64
IMAGES = {"train": 4096, "test": 64}
PEER = Path(__file__).parent / "peers" / "train_step_peer.py"
OURS = ("ours", "ours-4-shards", "apparatus")
PEERS = {"torch": ("torch-loop", "lightning"), "jax": ("jax-loop",)}
WARMING = 2
"""Turns that do not count."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Steps a second against plain loops and Lightning.")
    parser.add_argument("--blocks", type=int, default=15, help="turns that each contender takes")
    parser.add_argument("--steps", type=int, default=8, help="steps a turn")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: computed time, for a busy machine",
    )
    parser.add_argument("models", nargs="*", default=["gpt", "cnn"], metavar="MODEL")
    asked = parser.parse_args()
    project, store = Project.find(Path(__file__).parent), Store.open()
    python = peers(project, store)
    rows: list[str] = []
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        for model in asked.models:
            folder = Path(name) / model
            digest = write_text(folder) if model == "gpt" else write_images(folder)
            for framework in ("torch", "jax"):
                found = measure(python, framework, model, folder, digest, asked)
                rows += report(framework, model, found)
    print("\n".join(rows))


def report(framework: str, model: str, found: dict[str, float]) -> list[str]:
    """Print the times; the lines `PEER RATIO`, above 1 where ours is faster."""
    for name, seconds in found.items():
        if name != "apparatus":
            print(f"{model} {name}: {1 / seconds:.2f} steps/s ({seconds * 1000:.2f} ms)")
    print(f"{model} {framework}: apparatus {found['apparatus'] / found['ours']:.1%} of a step")
    print(f"{model} {framework}: four shards at {found['ours'] / found['ours-4-shards']:.2f} of one's steps/s")
    return [f"{name}-{model} {found[name] / found['ours']:.3f}" for name in PEERS[framework]]


def measure(
    python: Path, framework: str, model: str, snapshot: Path, digest: str, asked: argparse.Namespace
) -> dict[str, float]:
    """Contender → median seconds a step."""
    source = str(Path(reprise_trainer.__file__).parents[1])
    environment = {**os.environ, **PROFILES["x86-64-v3"].switches(1), "PYTHONPATH": source}
    times: dict[str, list[float]] = {name: [] for name in (*OURS, *PEERS[framework])}
    with ExitStack() as started:
        processes = {}
        for name in times:
            command = [python, PEER, framework, model, snapshot, digest, name, asked.clock]
            process = subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True)
            processes[name] = started.enter_context(process)
        for turn in range(WARMING + asked.blocks):
            for name, process in processes.items():
                print(asked.steps, file=process.stdin, flush=True)
                seconds = float(process.stdout.readline()) / asked.steps
                if turn >= WARMING:
                    times[name].append(seconds)
        for process in processes.values():
            process.stdin.close()
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def peers(project: Project, store: Store) -> Path:
    """The Python of the peers' environment: the wheels of both locks, and Lightning from pip's own index."""
    folder = project.root / ".cache" / "peers" / "train_step"
    python = folder / "venv" / "bin" / "python"
    if (folder / "built").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "wheels").mkdir(parents=True)
    wheels: dict[str, Path] = {}
    for name in ("jax-cpu", "torch-cpu"):
        for artifact in load_lock(project, name).artifacts:
            if artifact.kind == "wheel":
                path = folder / "wheels" / name / artifact.file_name
                path.parent.mkdir(exist_ok=True)
                path.symlink_to(store.path(artifact.digest))
                wheels[artifact.file_name.split("-")[0]] = path  # where both have one, PyTorch's lock decides
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--no-deps", "--no-index", *wheels.values()], check=True)
    subprocess.run([*install, "lightning==2.6.1"], check=True)
    (folder / "built").touch()
    return python


def write_text(folder: Path) -> str:
    """A snapshot of a text of 65 different characters; its digest."""
    characters = (string.ascii_letters + string.digits + " .\n")[:65]
    text = "".join(random.Random(1).choices(characters, k=300_000)).encode()
    rules = TextSection(
        name="text", artifact="pkg:generic/text", sha256=SHA256, kind="text", block=64, stride=1, duplicates="allow"
    )
    reading = read_text(text, "text", block=64, stride=1)
    return write_snapshot(folder, reading, rules, [Source(artifact="pkg:generic/text", sha256=SHA256)]).digest


def write_images(folder: Path) -> str:
    """A snapshot of noise with labels, of Fashion-MNIST's form; its digest."""
    noise, files = random.Random(2), {}
    for split, (images, labels) in SPLIT_FILES.items():
        count = IMAGES[split]
        files[images] = gzip.compress(struct.pack(">4I", 0x803, count, 28, 28) + noise.randbytes(784 * count), 1)
        marks = bytes(noise.randrange(10) for _ in range(count))
        files[labels] = gzip.compress(struct.pack(">2I", 0x801, count) + marks, 1)
    rules = FashionMnistSection(name="noise", artifact="pkg:generic/noise", sha256=SHA256, kind="fashion-mnist")
    reading = read_fashion_mnist(files, records=IMAGES)
    return write_snapshot(folder, reading, rules, [Source(artifact="pkg:generic/noise", sha256=SHA256)]).digest


if __name__ == "__main__":
    main()
