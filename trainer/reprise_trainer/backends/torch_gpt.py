"""The GPT in PyTorch, as a function of named parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from reprise_trainer.backends.models import Gpt, Precision
from reprise_trainer.backends.torch_layers import dense, dropped


def gpt_scores(
    model: Gpt, values: Mapping[str, Tensor], tokens: Tensor, kept: Sequence[Tensor], precision: Precision
) -> Tensor:
    """Unnormalised scores of the token that follows each.

    Args:
        model: which model.
        values: parameter name → float32 tensor.
        tokens: int64 (records, block).
        kept: for each place of dropout a bool tensor (records, block, width) of what it keeps; empty: no dropout.
        precision: of products.

    Returns:
        float32 (records, block, vocabulary).
    """
    x = functional.embedding(tokens, values["token.weight"]) + values["position.weight"]
    if kept:
        x = dropped(x, kept[0], model.dropout)
    for number in range(1, model.layers + 1):
        masks = kept[2 * number - 1 : 2 * number + 1]
        if model.recompute:
            # Nothing is drawn inside, so there is no state of a generator to bring back.
            x = checkpoint(
                _block, model, values, number, x, masks, precision, use_reentrant=False, preserve_rng_state=False
            )
        else:
            x = _block(model, values, number, x, masks, precision)
    x = _normalised(x, values, "norm")
    return dense(x, {"head.weight": values["token.weight" if model.tied else "head.weight"]}, "head", precision)


def _block(
    model: Gpt, values: Mapping[str, Tensor], number: int, x: Tensor, kept: Sequence[Tensor], precision: Precision
) -> Tensor:
    name = f"block{number}"
    joined = dense(_normalised(x, values, f"{name}.norm1"), values, f"{name}.attention", precision)
    y = dense(_attended(model, joined, precision), values, f"{name}.projection", precision)
    x = x + (dropped(y, kept[0], model.dropout) if kept else y)
    y = functional.gelu(dense(_normalised(x, values, f"{name}.norm2"), values, f"{name}.expand", precision))
    y = dense(y, values, f"{name}.contract", precision)
    return x + (dropped(y, kept[1], model.dropout) if kept else y)


def _attended(model: Gpt, joined: Tensor, precision: Precision) -> Tensor:
    """Causal attention: queries, keys and values side by side (records, block, 3 * width) → (records, block, width)."""
    records, block, _ = joined.shape
    parts = joined if precision == "float32" else joined.bfloat16()
    query, key, value = parts.view(records, block, 3, model.heads, -1).permute(2, 0, 3, 1, 4)
    y = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    return y.transpose(1, 2).reshape(records, block, model.width).float()


def _normalised(x: Tensor, values: Mapping[str, Tensor], name: str) -> Tensor:
    return functional.layer_norm(x, (x.shape[-1],), values[f"{name}.weight"], values[f"{name}.bias"])
