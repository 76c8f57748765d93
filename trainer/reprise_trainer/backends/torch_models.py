"""The built-in models in PyTorch, as functions of named parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reprise_trainer.backends.interface import WEIGHT, Predictions, ShardKey, Tensors
from reprise_trainer.backends.layout import layout_of
from reprise_trainer.backends.models import (
    KERNEL,
    POOL,
    BuiltIn,
    Cnn,
    hidden_widths,
    initial_values,
    kept_by_dropout,
    parameters,
    random_streams,
)
from reprise_trainer.backends.torch_program import ShardResult, Values
from reprise_trainer.data.batches import Fields


class BuiltInProgram:
    """See `TorchProgram`."""

    def __init__(self, model: BuiltIn) -> None:
        self._model = model
        self.layout = layout_of({each.name: each.shape for each in parameters(model)})
        self.buffers: Tensors = {}

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """See `TorchProgram.initial`."""
        return initial_values(self._model, seed), {}

    def shard(self, values: Values, buffers: Values, fields: Fields, key: ShardKey) -> ShardResult:
        """See `TorchProgram.shard`."""
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        images, labels = _tensors(fields)
        losses = record_losses(scores(self._model, leaves, images, key), labels)
        weights = fields.get(WEIGHT)
        if weights is None:
            loss, weight = losses.sum(), len(labels)
        else:
            weight = torch.from_numpy(weights)
            loss, weight = (losses * weight).sum(), weight.sum()
        return ShardResult(loss.detach(), weight, torch.autograd.grad(loss, tuple(leaves.values())), {})

    def predict(self, values: Values, buffers: Values, fields: Fields) -> Predictions:
        """See `TorchProgram.predict`."""
        images, labels = _tensors(fields)
        result = scores(self._model, values, images, None)
        losses = record_losses(result, labels).numpy()
        weights = np.asarray(fields.get(WEIGHT, np.ones_like(losses)), np.float32)
        return Predictions(losses * weights, weights, result.numpy(), labels.numpy())

    def random_streams(self) -> dict[str, str]:
        """See `TorchProgram.random_streams`."""
        return random_streams(self._model)

    def aliases(self) -> dict[str, str]:
        """See `TorchProgram.aliases`."""
        return {}


def scores(model: BuiltIn, values: Mapping[str, Tensor], images: Tensor, key: ShardKey | None) -> Tensor:
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


def _tensors(fields: Fields) -> tuple[Tensor, Tensor]:
    """Images uint8 (records, height, width) and labels int64 (records,)."""
    return torch.from_numpy(np.ascontiguousarray(fields["image"])), torch.from_numpy(fields["label"].astype(np.int64))
