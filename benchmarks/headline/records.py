"""The records that all contenders train on: arrays for everybody, and a snapshot made from them for ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from task import BATCH, CHANNELS, CHECKPOINT_EVERY, DROPOUT, HIDDEN, LEARNING_RATE, RECORDS, SEED, STEPS

from reprise.artifacts.fetch import fetch
from reprise.lock.environment import read_environment
from reprise.lock.model import Sources
from reprise.project import Project
from reprise.run_config import load_config
from reprise.snapshots import data_artifacts, make_snapshot, prepare_snapshot
from reprise.store import Store
from reprise_trainer.data.batches import open_columns
from reprise_trainer.data.snapshot import open_snapshot

CHECKOUT = Path(__file__).parents[2]

CONFIG = f"""
[run]
name = "headline"
environment = "torch-cpu"
profile = "portable"
seed = {SEED}
threads = 1

[data]
kind = "arrays"
name = "headline"
licence = "Expat"
duplicates = "allow"
workers = 0
fields = {{ label = {{ classes = {[str(each) for each in range(10)]} }} }}

[data.files.train]
image = {{ file = "image.npy", sha256 = "IMAGE" }}
label = {{ file = "label.npy", sha256 = "LABEL" }}

[model]
kind = "cnn"
channels = {list(CHANNELS)}
hidden = {HIDDEN}
dropout = {DROPOUT}

[train]
steps = {STEPS}
batch_size = {BATCH}
shards = 4

[checkpoint]
every = {CHECKPOINT_EVERY}

[train.optimizer]
kind = "adamw"
lr = {LEARNING_RATE}

[evaluate]
split = "train"
"""


def write_records(folder: Path) -> Path:
    """Write `records.npz`, and `snapshot/` beside it with our snapshot, its digest and its configuration.

    Returns:
        The path of `records.npz`.
    """
    store = Store.open()
    image, label = _fashion_mnist(store)
    np.savez(folder / "records.npz", image=image, label=label)
    ours = folder / "snapshot"
    ours.mkdir()
    text = CONFIG
    for name, array in (("image", image), ("label", label)):
        np.save(ours / f"{name}.npy", array)
        text = text.replace(name.upper(), hashlib.sha256((ours / f"{name}.npy").read_bytes()).hexdigest())
    (ours / "run.toml").write_text(text)
    section = load_config(ours / "run.toml").config.data
    fetch(data_artifacts(section, store, base=ours), store, Sources())
    made = make_snapshot(section, store, ours)
    (ours / "digest").write_text(made.digest)
    return folder / "records.npz"


def _fashion_mnist(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """The first records of the training split: images uint8, labels uint8."""
    config = CHECKOUT / "examples" / "fashion-mnist.toml"
    section = load_config(config).config.data
    sources = read_environment(Project.find(CHECKOUT).environment_file("torch-cpu")).sources
    fetch(data_artifacts(section, store, base=config.parent), store, sources)
    columns = open_columns(open_snapshot(prepare_snapshot(section, store).folder), "train")
    records = np.arange(RECORDS)
    return columns["image"].take(records), columns["label"].take(records)
