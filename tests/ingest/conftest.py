"""A store of its own, and a way from a `[data]` table and files beside it to a snapshot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from reprise.ingest.files import folder_list
from reprise.snapshots import data_artifacts, prepare_snapshot
from reprise.store import Store
from reprise_trainer.config.read import read_config
from reprise_trainer.data.snapshot import OpenSnapshot, open_snapshot

REST = """
[run]
name = "small"
environment = "torch-cpu"
seed = 1
threads = 1

[model]
kind = "mlp"
hidden = [4]

[train]
steps = 1
batch_size = 4

[train.optimizer]
kind = "sgd"
lr = 0.1
"""

Ingest = Callable[[str], OpenSnapshot]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the configuration and its files lie."""
    made = tmp_path / "beside"
    made.mkdir()
    return made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def ingest(folder: Path, store: Store) -> Ingest:
    """`[data]` as TOML, in which `@NAME` stands for the lines that name the local file or folder NAME → snapshot."""

    def call(data: str) -> OpenSnapshot:
        config = read_config((data_table(data, folder) + REST).encode(), where="run.toml")
        data_artifacts(config.data, store, base=folder)
        made = prepare_snapshot(config.data, store)
        return open_snapshot(made.folder, expected=made.digest)

    return call


def data_table(text: str, folder: Path) -> str:
    lines = [_place(line, folder) if line.startswith("@") else line for line in text.strip().splitlines()]
    return "\n".join(lines) + "\n"


def _place(line: str, folder: Path) -> str:
    path = folder / line[1:].strip()
    data = folder_list(path) if path.is_dir() else path.read_bytes()
    return f'file = "{path.name}"\nsha256 = "{hashlib.sha256(data).hexdigest()}"'
