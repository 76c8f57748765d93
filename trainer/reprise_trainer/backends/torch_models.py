"""The built-in models' forward pass in PyTorch, as functions of named parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from reprise_trainer.backends.interface import ShardKey
from reprise_trainer.backends.models import KERNEL, POOL, Cnn, Model, hidden_widths, kept_by_dropout


def scores(model: Model, values: Mapping[str, Tensor], images: Tensor, key: ShardKey | None) -> Tensor:
    """Unnormalised class scores.

    Args:
        model: which model.
        values: parameter name → float32 tensor.
        images: uint8 (records, height, width).
        key: keys the dropout; None leaves dropout out.

    Returns:
        float32 (records, classes).
    """
    x = images.unsqueeze(1).to(torch.float32).div(255.0).sub(0.5)
    if isinstance(model, Cnn):
        for number in range(1, len(model.channels) + 1):
            weight, bias = values[f"conv{number}.weight"], values[f"conv{number}.bias"]
            x = functional.max_pool2d(functional.conv2d(x, weight, bias, padding=KERNEL // 2), POOL).relu()
    x = x.flatten(1)
    layers = len(hidden_widths(model)) + 1
    for number in range(1, layers):
        x = functional.linear(x, values[f"dense{number}.weight"], values[f"dense{number}.bias"]).relu()
        if key is not None and model.dropout > 0:
            kept = torch.from_numpy(kept_by_dropout(model, key, number, len(x)))
            x = x * kept * (1.0 / (1.0 - model.dropout))
    return functional.linear(x, values[f"dense{layers}.weight"], values[f"dense{layers}.bias"])


def record_losses(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each record: float32 (records,), from scores (records, classes) and int64 labels."""
    return functional.cross_entropy(scores, labels, reduction="none")
