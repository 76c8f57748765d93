"""`[model]`: one of the built-in models, or your own; chosen by `kind`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

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


class GptSection(Section):
    kind: Literal["gpt"]
    layers: int = Field(ge=1, le=256, description="Blocks of attention and a dense part.")
    heads: int = Field(ge=1, le=256, description="Attention heads of a block; they divide the width.")
    width: int = Field(ge=1, le=65536, description="Width of a token's vector.")
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Share of hidden values dropped in training.")
    tied: bool = Field(default=True, description="The head's weights are those of the tokens' embedding.")
    recompute: bool = Field(
        default=False, description="Compute a block's values again on the way back: less memory, more time."
    )

    @model_validator(mode="after")
    def _fits(self) -> GptSection:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width {self.width}, and {self.heads} do not")
        return self


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
