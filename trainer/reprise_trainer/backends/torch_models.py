"""The built-in models in PyTorch, as functions of named parameters."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from reprise_trainer.backends.interface import WEIGHT, Predictions, ShardKey, Tensors
from reprise_trainer.backends.layout import layout_of
from reprise_trainer.backends.models import (
    BuiltIn,
    Gpt,
    Precision,
    aliases,
    initial_values,
    kept_by_dropout,
    parameters,
    random_streams,
)
from reprise_trainer.backends.torch_gpt import gpt_scores
from reprise_trainer.backends.torch_layers import cross_entropies, image_scores
from reprise_trainer.backends.torch_program import ShardResult, Values
from reprise_trainer.data.batches import Fields


class BuiltInProgram:
    """See `TorchProgram`."""

    def __init__(self, model: BuiltIn, precision: Precision) -> None:
        self._model = model
        self._precision = precision
        self.layout = layout_of({each.name: each.shape for each in parameters(model)})
        self.buffers: Tensors = {}

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """See `TorchProgram.initial`."""
        return initial_values(self._model, seed), {}

    def shard(self, values: Values, buffers: Values, fields: Fields, key: ShardKey) -> ShardResult:
        """See `TorchProgram.shard`."""
        leaves = {name: value.detach().requires_grad_() for name, value in values.items()}
        inputs, labels = _tensors(self._model, fields)
        kept = [torch.from_numpy(each) for each in kept_by_dropout(self._model, key, len(labels))]
        losses = cross_entropies(self._scores(leaves, inputs, kept), labels)
        weights = fields.get(WEIGHT)
        weight: int | Tensor = labels.numel()
        if weights is not None:
            each = torch.from_numpy(weights).reshape(-1, *[1] * (labels.ndim - 1)).expand(labels.shape)
            losses, weight = losses * each, each.sum()
        loss = losses.sum()
        return ShardResult(loss.detach(), weight, torch.autograd.grad(loss, tuple(leaves.values())), {})

    def predict(self, values: Values, buffers: Values, fields: Fields) -> Predictions:
        """See `TorchProgram.predict`."""
        inputs, labels = _tensors(self._model, fields)
        scores = self._scores(values, inputs, [])
        losses = cross_entropies(scores, labels).reshape(len(labels), -1).sum(dim=1).numpy()
        weights = np.asarray(fields.get(WEIGHT, np.ones(len(labels))), np.float32)
        return Predictions(losses * weights, weights * math.prod(labels.shape[1:]), scores.numpy(), labels.numpy())

    def random_streams(self) -> dict[str, str]:
        """See `TorchProgram.random_streams`."""
        return random_streams(self._model)

    def aliases(self) -> dict[str, str]:
        """See `TorchProgram.aliases`."""
        return aliases(self._model)

    def _scores(self, values: Values, inputs: Tensor, kept: list[Tensor]) -> Tensor:
        if isinstance(self._model, Gpt):
            return gpt_scores(self._model, values, inputs, kept, self._precision)
        return image_scores(self._model, values, inputs, kept, self._precision)


def _tensors(model: BuiltIn, fields: Fields) -> tuple[Tensor, Tensor]:
    """Images uint8 (records, height, width) and labels int64 (records,); or tokens int64 (records, block) and those
    that follow them."""
    if isinstance(model, Gpt):
        tokens = torch.from_numpy(fields["tokens"].astype(np.int64))
        return tokens[:, :-1], tokens[:, 1:]
    return torch.from_numpy(np.ascontiguousarray(fields["image"])), torch.from_numpy(fields["label"].astype(np.int64))
