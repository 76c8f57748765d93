"""`[model]`: one of the built-in models, or your own; chosen by `kind`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from reprise_trainer.config.section import Section
from reprise_trainer.entry_point import PATTERN


class CnnSection(Section):
    kind: Literal["cnn"]
    channels: list[Annotated[int, Field(ge=1, le=1024)]] = Field(
        min_length=1, max_length=4, description="Output channels of each 3 x 3 convolution; 2 x 2 pooling follows each."
    )
    hidden: int = Field(ge=1, le=65536, description="Width of the hidden dense layer.")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Share of hidden values dropped in training.")


class MlpSection(Section):
    kind: Literal["mlp"]
    hidden: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        max_length=16, description="Widths of the hidden dense layers."
    )
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Share of hidden values dropped in training.")


class OwnSection(Section):
    kind: Literal["own"]
    model: str = Field(
        pattern=PATTERN,
        description="Your function `package.module:function`, called with a key and the options; makes the model.",
    )
    loss: str = Field(
        pattern=PATTERN,
        description="Your function `loss(model, batch, key)`; gives the sum of the losses and the weight.",
    )
    options: dict[str, Any] = Field(default={}, description="A table of your own, passed on to `model` by name.")
