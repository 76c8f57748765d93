"""Layers in PyTorch with the project's rule of precision, and the image models made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from reprise_trainer.backends.models import KERNEL, POOL, Cnn, Mlp, Precision, hidden_widths


def image_scores(
    model: Cnn | Mlp, values: Mapping[str, Tensor], images: Tensor, kept: Sequence[Tensor], precision: Precision
) -> Tensor:
    """Unnormalised class scores.

    Args:
        model: which model.
        values: parameter name → float32 tensor.
        images: uint8 (records, height, width).
        kept: for each hidden dense layer a bool tensor (records, width) of what dropout keeps; empty: no dropout.
        precision: of products.

    Returns:
        float32 (records, classes).
    """
    x = images.unsqueeze(1).to(torch.float32).div(255.0).sub(0.5)
    if isinstance(model, Cnn):
        for number in range(1, len(model.channels) + 1):
            weight, bias = values[f"conv{number}.weight"], values[f"conv{number}.bias"]
            x = functional.max_pool2d(_convolved(x, weight, bias, precision), POOL).relu()
    x = x.flatten(1)
    layers = len(hidden_widths(model)) + 1
    for number in range(1, layers):
        x = dense(x, values, f"dense{number}", precision).relu()
        if kept:
            x = dropped(x, kept[number - 1], model.dropout)
    return dense(x, values, f"dense{layers}", precision)


def dense(x: Tensor, values: Mapping[str, Tensor], name: str, precision: Precision) -> Tensor:
    """`x` through the dense layer `name`: (…, in) → (…, out); a layer without a bias has none added."""
    weight, bias = values[f"{name}.weight"], values.get(f"{name}.bias")
    if precision == "float32":
        return functional.linear(x, weight, bias)
    y = functional.linear(x.bfloat16(), weight.bfloat16()).float()
    return y if bias is None else y + bias


def dropped(x: Tensor, kept: Tensor, dropout: float) -> Tensor:
    """`x` where `kept`, scaled so that its mean stays; else 0."""
    return x * kept * (1.0 / (1.0 - dropout))


def cross_entropies(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of each label: float32 of the labels' shape, from scores (…, classes) and int64 labels (…)."""
    losses = functional.cross_entropy(scores.flatten(0, -2), labels.flatten(), reduction="none")
    return losses.view(labels.shape)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor, precision: Precision) -> Tensor:
    if precision == "float32":
        return functional.conv2d(x, weight, bias, padding=KERNEL // 2)
    product = functional.conv2d(x.bfloat16(), weight.bfloat16(), padding=KERNEL // 2)
    return product.float() + bias[:, None, None]
