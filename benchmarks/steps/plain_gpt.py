"""A character GPT as one writes it in PyTorch: the benchmark's counterpart of the built-in model, of the same sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Causal attention and a dense part, each behind a layer normalisation and beside a residual."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """`x`: float32 (records, tokens, width)."""
        records, tokens, width = x.shape
        parts = self.qkv(self.norm1(x)).reshape(records, tokens, 3, self.heads, width // self.heads)
        q, k, v = (parts[:, :, part].transpose(1, 2) for part in range(3))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(records, tokens, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class PlainGpt(nn.Module):
    """Scores of the next token, float32 (records, tokens, vocabulary)."""

    def __init__(self, vocabulary: int, block: int, layers: int, heads: int, width: int) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(block, width)
        self.blocks = nn.Sequential(*(Block(heads, width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens`: int64 (records, tokens)."""
        x = self.token(tokens) + self.position(torch.arange(tokens.shape[1]))
        return self.head(self.norm(self.blocks(x)))
