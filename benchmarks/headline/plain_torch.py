"""A loop of one's own in PyTorch, as tutorials write it: everything seeded, RNG states in the checkpoint, DDP."""

from __future__ import annotations

import os
import random

import numpy as np
import torch
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
from torch import distributed
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler


def main() -> None:
    asked = arguments()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        distributed.init_process_group("gloo")
    rank = distributed.get_rank() if world > 1 else 0
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)

    model = torch_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    data = torch_data(asked.data)
    sampler = DistributedSampler(data, num_replicas=world, rank=rank, seed=SEED)
    loader = DataLoader(data, batch_size=BATCH // world, sampler=sampler, num_workers=asked.workers)
    step, newest = 0, asked.out / "checkpoint.pt"
    if newest.exists():
        saved = torch.load(newest, weights_only=False)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        step = saved["step"]
    trained = DistributedDataParallel(model) if world > 1 else model
    epoch = step // len(loader)
    while step < STEPS:
        sampler.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(trained(images), labels).backward()
            optimizer.step()
            step += 1
            if rank == 0:
                if step % CHECKPOINT_EVERY == 0:
                    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                    torch.save({**state, "rng": torch.get_rng_state(), "step": step}, asked.out / "aside.pt")
                    (asked.out / "aside.pt").rename(newest)
                say(step)
            if step == STEPS:
                break
        epoch += 1
    if rank == 0:
        finish(asked.out, torch_state(model, optimizer))
    if world > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
