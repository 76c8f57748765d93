"""A small snapshot that can be learnt, its configuration, and a way to run the trainer in a process of its own."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import reprise_trainer
from reprise.ingest.fashion_mnist import SPLIT_FILES, read_fashion_mnist
from reprise.ingest.write import write_snapshot
from reprise_trainer.config.data import FashionMnistSection
from reprise_trainer.data.snapshot import OpenSnapshot, Source, open_snapshot
from reprise_trainer.numerics.profiles import PROFILES

RECORDS = {"train": 300, "test": 70}
ARTIFACT = "pkg:deb/debian/dataset-fashion-mnist@0?arch=all&distro=bookworm"
SHA256 = hashlib.sha256(b"the artifact").hexdigest()
IMAGE = "sha256:" + "1" * 64

RUNNER = Path(__file__).with_name("run_once.py")

CONFIG = f"""
[run]
name = "small"
environment = "torch-cpu"
seed = 7
threads = 1

[data]
name = "fashion-mnist"
artifact = "{ARTIFACT}"
sha256 = "{SHA256}"

[model]
kind = "cnn"
channels = [4, 8]
hidden = 16
dropout = 0.1

[train]
epochs = 3
batch_size = 32
shards = 4

[train.optimizer]
kind = "adamw"
lr = 0.01
schedule = "linear"
weight_decay = 0.01

[checkpoint]
every = 10

[evaluate]
batch_size = 50
"""


def idx_files(records: Mapping[str, int] = RECORDS) -> dict[str, bytes]:
    """Files in Fashion-MNIST's format: class c is a bright band at rows 2c + 4 to 2c + 6, on hash-made noise."""
    files = {}
    for split, (images_name, labels_name) in SPLIT_FILES.items():
        labels = bytes(
            hashlib.sha256(f"{split} {record}".encode()).digest()[0] % 10 for record in range(records[split])
        )
        images = bytearray()
        for record, label in enumerate(labels):
            noise = hashlib.shake_128(f"{split} {record}".encode()).digest(784)
            image = bytearray(value // 4 for value in noise)
            image[28 * (2 * label + 4) : 28 * (2 * label + 6)] = b"\xff" * 56
            images += image
        count = records[split]
        files[images_name] = gzip.compress(struct.pack(">4I", 0x803, count, 28, 28) + bytes(images), mtime=0)
        files[labels_name] = gzip.compress(struct.pack(">2I", 0x801, count) + labels, mtime=0)
    return files


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    return idx_files()


def ingest(files: Mapping[str, bytes], folder: Path) -> str:
    """Write the small snapshot into `folder`; its digest."""
    rules = FashionMnistSection(name="fashion-mnist", artifact=ARTIFACT, sha256=SHA256)
    source = Source(artifact=ARTIFACT, sha256=SHA256)
    return write_snapshot(folder, read_fashion_mnist(files, records=RECORDS), rules, [source]).digest


@pytest.fixture(scope="session")
def snapshot(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> OpenSnapshot:
    folder = tmp_path_factory.mktemp("snapshot") / "small"
    return open_snapshot(folder, expected=ingest(files, folder))


@dataclass(frozen=True)
class Ran:
    """A finished process of `run_once.py`: exit code, error text, the document that it printed, its output folder."""

    code: int
    error: str
    result: dict[str, Any]
    output: Path

    @property
    def bits(self) -> tuple[str, str]:
        return self.result["ledger"], self.result["state"]


def command(config: str, snapshot: OpenSnapshot, output: Path) -> list[str]:
    """The command that runs `config` into the folder `output`, which is made if it is new."""
    output.mkdir(parents=True, exist_ok=True)
    path = output.with_name(f"{output.name}.toml")
    path.write_text(config)
    return [sys.executable, str(RUNNER), str(path), str(snapshot.folder), snapshot.digest, str(output)]


def environment(changes: Mapping[str, str] = {}) -> dict[str, str]:
    """This process's environment, without switches that an outer test run may have set."""
    source = Path(reprise_trainer.__file__).parents[1]
    prefixes = ("REPRISE_", "OMP_", "MKL_", "OPENBLAS_")
    switches = {name for profile in PROFILES.values() for name in profile.environment}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes) and name not in switches}
    return {**kept, "PYTHONPATH": str(source), **changes}


RunOnce = Callable[..., Ran]


@pytest.fixture
def run_once(snapshot: OpenSnapshot, tmp_path: Path) -> RunOnce:
    """Run a configuration in a process of its own, under its profile."""

    def call(
        config: str = CONFIG,
        *,
        changes: Mapping[str, str] = {},
        prefix: tuple[str, ...] = (),
        timeout: int = 300,
        workers: int = 1,
        output: Path | None = None,
    ) -> Ran:
        output = output or tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        argv = [*prefix, *command(config, snapshot, output), "", str(workers)]
        process = subprocess.run(
            argv, check=False, env=environment(changes), capture_output=True, text=True, timeout=timeout
        )
        result = json.loads(process.stdout.splitlines()[-1]) if process.returncode == 0 else {}
        return Ran(process.returncode, process.stderr, result, output)

    return call
