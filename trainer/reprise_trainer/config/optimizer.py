"""`[train.optimizer]`: one of the optimizers, chosen by `kind`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from reprise_trainer.config.section import Section

_SMALLEST_NORMAL = 2.0**-126
"""The smallest float32 that an update does not take for zero."""


class Rule(Section):
    lr: float = Field(gt=0, allow_inf_nan=False, description="Learning rate.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant",
        description="How the learning rate moves over the run: `constant`, or down in a line (`linear`) or half a "
        "cosine (`cosine`).",
    )
    warmup: int = Field(default=0, ge=0, description="Steps in which the learning rate rises to `lr` in a line.")
    final: float = Field(default=0.0, ge=0, le=1, description="Share of `lr` that a falling schedule ends at.")
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="Weight decay.")


class SgdSection(Rule):
    kind: Literal["sgd"]
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Share of the last step's velocity that is kept.")


class AdamWSection(Rule):
    kind: Literal["adamw"]
    beta1: float = Field(default=0.9, ge=0, lt=1, description="Share of the gradients' mean that is kept.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="Share of the squared gradients' mean that is kept.")
    epsilon: float = Field(default=1e-8, gt=0, allow_inf_nan=False, description="Added to the denominator.")

    @field_validator("epsilon")
    @classmethod
    def _counts(cls, value: float) -> float:
        if value < _SMALLEST_NORMAL:  # a denominator of zero leaves no numbers
            raise ValueError(f"{value} counts as 0 in float32: give at least 1.2e-38")
        return value
