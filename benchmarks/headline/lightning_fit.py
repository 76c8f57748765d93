"""Lightning: seed_everything(workers=True), Trainer(deterministic=True), ModelCheckpoint, ckpt_path."""

from __future__ import annotations

import logging

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from task import (
    BATCH,
    CHECKPOINT_EVERY,
    LEARNING_RATE,
    SEED,
    STEPS,
    arguments,
    finish,
    say,
    torch_data,
    torch_model,
    torch_state,
)
from torch.nn import functional
from torch.utils.data import DataLoader


class Network(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = torch_model()

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        images, labels = batch
        return functional.cross_entropy(self.network(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE)


class Say(Callback):
    def on_train_batch_end(self, trainer: lightning.Trainer, *rest: object) -> None:
        if trainer.is_global_zero:
            say(trainer.global_step)


def main() -> None:
    asked = arguments()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lightning.seed_everything(SEED, workers=True, verbose=False)
    module = Network()
    loader = DataLoader(
        torch_data(asked.data), batch_size=BATCH // asked.world, shuffle=True, num_workers=asked.workers
    )
    checkpoints = ModelCheckpoint(dirpath=asked.out, save_last=True, every_n_train_steps=CHECKPOINT_EVERY)
    trainer = lightning.Trainer(
        max_steps=STEPS,
        deterministic=True,
        accelerator="cpu",
        devices=asked.world,
        strategy="ddp" if asked.world > 1 else "auto",
        callbacks=[checkpoints, Say()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    newest = asked.out / "last.ckpt"
    trainer.fit(module, loader, ckpt_path=str(newest) if newest.exists() else None, weights_only=False)
    if trainer.is_global_zero:
        finish(asked.out, torch_state(module.network, trainer.optimizers[0]))


if __name__ == "__main__":
    main()
