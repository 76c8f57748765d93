"""The task of every contender: one network, one data set, one optimizer, so many steps; and the digest of the end.

A contender is a program `contender.py --data FILE.npz --out FOLDER [--workers N]` that trains STEPS steps, leaves a
checkpoint in FOLDER every CHECKPOINT_EVERY steps, goes on from the newest one when it is started again, says `step N`
on standard output after each step, and writes the sha256 of all weights and optimizer tensors to FOLDER/final.
Whatever it can do to be reproducible by its framework's own means it does.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SEED, BATCH, STEPS, CHECKPOINT_EVERY = 7, 32, 60, 10
RECORDS = 1600
"""One epoch is 50 steps: so 60 steps cross into a second one."""

LEARNING_RATE = 0.002
CHANNELS, HIDDEN, CLASSES, DROPOUT = (8, 16), 32, 10, 0.1


def arguments() -> argparse.Namespace:
    """What every contender is asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    parser.add_argument("--world", type=int, default=1, help="processes that train")
    return parser.parse_args()


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (records, 28, 28) and labels int64 (records,)."""
    with np.load(path) as file:
        return file["image"], file["label"].astype(np.int64)


def say(step: int) -> None:
    """Tell the driver that `step` steps are done."""
    print(f"step {step}", flush=True)


def finish(out: Path, tensors: Mapping[str, Any]) -> None:
    """Write the digest of every tensor, by name, and end."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = np.ascontiguousarray(np.asarray(tensors[name]))
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode() + value.tobytes())
    aside = out / f".final-{os.getpid()}"
    aside.write_text(digest.hexdigest())
    aside.rename(out / "final")


def torch_model() -> Any:
    """The network as a torch module."""
    from torch import nn

    return nn.Sequential(
        *(nn.Conv2d(1, CHANNELS[0], 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(CHANNELS[0], CHANNELS[1], 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(CHANNELS[1] * 49, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT)),
        nn.Linear(HIDDEN, CLASSES),
    )


def torch_data(path: Path) -> Any:
    """The records as a torch data set."""
    import torch
    from torch.utils.data import TensorDataset

    images, labels = load(path)
    return TensorDataset(torch.from_numpy(images).unsqueeze(1).float().div(255).sub(0.5), torch.from_numpy(labels))


def torch_state(model: Any, optimizer: Any) -> dict[str, Any]:
    """Weights and optimizer tensors by name."""
    tensors = {f"model/{name}": value.detach().numpy() for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{name}": np.asarray(value) for name, value in state.items()}
    return tensors
