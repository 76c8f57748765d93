"""Accelerate: set_seed(deterministic=True), a StatefulDataLoader, save_state and load_state."""

from __future__ import annotations

import shutil

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
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


class Progress:
    """Finished steps and epochs, as `register_for_checkpointing` takes them."""

    def __init__(self) -> None:
        self.step = self.epoch = 0

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step, self.epoch = state["step"], state["epoch"]


def main() -> None:
    asked = arguments()
    loading = DataLoaderConfiguration(use_stateful_dataloader=True, use_seedable_sampler=True, data_seed=SEED)
    accelerator = Accelerator(cpu=True, dataloader_config=loading)
    set_seed(SEED, deterministic=True)
    model = torch_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    size = BATCH // accelerator.num_processes
    loader = DataLoader(torch_data(asked.data), batch_size=size, shuffle=True, num_workers=asked.workers)
    trained, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    progress, newest = Progress(), asked.out / "checkpoint"
    accelerator.register_for_checkpointing(progress)
    if newest.exists():
        accelerator.load_state(str(newest))
    while progress.step < STEPS:
        loader.set_epoch(progress.epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            accelerator.backward(functional.cross_entropy(trained(images), labels))
            optimizer.step()
            progress.step += 1
            if progress.step % CHECKPOINT_EVERY == 0:
                accelerator.save_state(str(asked.out / "aside"))
                if accelerator.is_main_process:
                    shutil.rmtree(newest, ignore_errors=True)
                    (asked.out / "aside").rename(newest)
                accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                say(progress.step)
            if progress.step == STEPS:
                break
        progress.epoch += 1
    if accelerator.is_main_process:
        finish(asked.out, torch_state(accelerator.unwrap_model(trained), optimizer.optimizer))
    accelerator.end_training()


if __name__ == "__main__":
    main()
