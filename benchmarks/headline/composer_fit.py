"""Composer with Streaming: deterministic mode, a StreamingDataLoader whose place is in the checkpoint, autoresume."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from composer import ComposerModel, Trainer
from composer.core import Callback, State
from composer.loggers import Logger
from composer.utils import reproducibility
from streaming import MDSWriter, StreamingDataLoader, StreamingDataset
from task import (
    BATCH,
    CHECKPOINT_EVERY,
    LEARNING_RATE,
    SEED,
    STEPS,
    arguments,
    finish,
    load,
    say,
    torch_model,
    torch_state,
)
from torch.nn import functional


class Network(ComposerModel):
    def __init__(self) -> None:
        super().__init__()
        self.network = torch_model()

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.network(batch["image"].unsqueeze(1).float().div(255).sub(0.5))

    def loss(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional.cross_entropy(outputs, batch["label"].flatten())


class Say(Callback):
    def batch_end(self, state: State, logger: Logger) -> None:
        if int(os.environ.get("RANK", "0")) == 0:
            say(int(state.timestamp.batch))


def write_records(folder: Path, path: Path) -> None:
    """The records in Streaming's own format."""
    images, labels = load(path)
    with MDSWriter(out=str(folder), columns={"image": "ndarray", "label": "int"}) as out:
        for image, label in zip(images, labels, strict=True):
            out.write({"image": image, "label": int(label)})


def main() -> None:
    asked = arguments()
    logging.getLogger("composer").setLevel(logging.ERROR)
    reproducibility.configure_deterministic_mode()
    reproducibility.seed_all(SEED)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    records = asked.data.parent / "records.mds"
    if not (records / "index.json").exists():
        write_records(records, asked.data)
    data = StreamingDataset(local=str(records), shuffle=True, shuffle_seed=SEED, batch_size=BATCH // world)
    loader = StreamingDataLoader(data, batch_size=BATCH // world, num_workers=asked.workers)
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    settings: dict[str, Any] = {"save_folder": str(asked.out), "save_interval": f"{CHECKPOINT_EVERY}ba"}
    trainer = Trainer(
        model=model,
        train_dataloader=loader,
        optimizers=optimizer,
        max_duration=f"{STEPS}ba",
        seed=SEED,
        device="cpu",
        run_name="headline",
        autoresume=True,
        progress_bar=False,
        callbacks=[Say()],
        **settings,
    )
    trainer.fit()
    if int(os.environ.get("RANK", "0")) == 0:
        finish(asked.out, torch_state(model.network, optimizer))


if __name__ == "__main__":
    main()
