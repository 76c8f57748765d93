"""PyTorch's contenders of `train_step.py`: a hand-written loop, and Lightning's Trainer."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

Turn = Callable[[int], None]
OPTIMIZER = {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(128), nn.LayerNorm(128)
        self.attention, self.projection = nn.Linear(128, 384), nn.Linear(128, 128)
        self.expand, self.contract = nn.Linear(128, 512), nn.Linear(512, 128)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.attention(self.norm1(x)).view(-1, 64, 3, 4, 32).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.projection(y.transpose(1, 2).reshape(-1, 64, 128))
        return x + self.contract(functional.gelu(self.expand(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(65, 128), nn.Embedding(64, 128)
        self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(4))), nn.LayerNorm(128)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens.long()
        x = self.token(tokens[:, :-1]) + self.position.weight
        scores = functional.linear(self.norm(self.blocks(x)), self.token.weight)
        return functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10)),
        )

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(self.layers(images.unsqueeze(1) / 255 - 0.5), labels.long())


def made(name: str) -> nn.Module:
    return Gpt() if name == "gpt" else Cnn()


def fields(arrays: Mapping[str, Any]) -> list[Tensor]:
    return [torch.from_numpy(arrays[name]) for name in ("tokens", "image", "label") if name in arrays]


def plain_loop(name: str, arrays: Mapping[str, Any], batch_size: int) -> Turn:
    """What one writes by hand."""
    model, columns = made(name), fields(arrays)
    optimizer = torch.optim.AdamW(model.parameters(), **OPTIMIZER)
    draws = np.random.default_rng(1)

    def turn(count: int) -> None:
        for _ in range(count):
            chosen = torch.from_numpy(draws.integers(0, len(columns[0]), batch_size))
            loss = model(*(column[chosen] for column in columns))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return turn


class Module(lightning.LightningModule):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = made(name)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return self.model(*batch)  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), **OPTIMIZER)


class TakingTurns(lightning.Callback):
    """Lightning's steps by the lines of the input, as `take_turns`; the wait for a line is outside of their time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.left, self.start = clock, 0, 0.0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.begin(trainer)

    def begin(self, trainer: Any) -> None:
        line = sys.stdin.readline()
        self.left, trainer.should_stop = int(line or 0), not line
        self.start = self.clock()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.left -= 1
        if self.left > 0 or trainer.should_stop:
            return
        print(self.clock() - self.start, file=sys.__stdout__, flush=True)
        self.begin(trainer)


def under_lightning(name: str, arrays: Mapping[str, Any], batch_size: int, clock: Callable[[], float]) -> None:
    """Lightning's Trainer with all off that a plain loop does not have."""
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=-1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[TakingTurns(clock)],
    )
    loader = DataLoader(TensorDataset(*fields(arrays)), batch_size=batch_size, shuffle=True, drop_last=True)
    with contextlib.redirect_stdout(sys.stderr):
        trainer.fit(Module(name), loader)
