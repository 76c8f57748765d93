"""`[train]`: how long, on how much a step, in how many parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from reprise_trainer.config.optimizer import AdamWSection, SgdSection
from reprise_trainer.config.section import Section

TRAIN_SPLIT = "train"
"""The split that a run trains on."""


class TrainSection(Section):
    backend: Literal["torch", "jax"] = Field(default="torch", description="Numeric framework: `torch` or `jax`.")
    epochs: int | None = Field(default=None, ge=1, description="Length of the run in epochs; or give steps.")
    steps: int | None = Field(default=None, ge=1, description="Length of the run in steps; or give epochs.")
    batch_size: int = Field(ge=1, le=2**20, description="Records a step, over all logical shards.")
    shards: int = Field(default=1, ge=1, le=1024, description="Parts of a batch: a power of two that divides it.")
    clip_norm: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Longest that the gradient of the mean loss may be, over all parameters; a longer one is scaled.",
    )
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Keep a moving average of the weights, this share of the old one a step; evaluation uses it.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="What matrix products and convolutions take and give, `float32` or `bfloat16`; all else is "
        "float32.",
    )
    allow_slow: bool = Field(default=False, description="Go on where the CPU has no bfloat16 of its own.")
    optimizer: Annotated[SgdSection | AdamWSection, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _fits(self) -> TrainSection:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps, and not both")
        if self.shards & (self.shards - 1) or self.batch_size % self.shards:
            fitting = [str(1 << bit) for bit in range(11) if self.batch_size % (1 << bit) == 0]
            raise ValueError(
                f"shards must be a power of two that divides batch_size {self.batch_size} "
                f"(one of {', '.join(fitting)}), not {self.shards}"
            )
        return self

    def total_steps(self, records: int) -> int:
        """Steps of the whole run on a split of `records` records; the last epoch's end is rounded up to a step."""
        return self.steps or -(-(self.epochs or 0) * records // self.batch_size)
