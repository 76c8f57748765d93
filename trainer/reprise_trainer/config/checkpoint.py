"""`[checkpoint]`: how often the state is saved, and which checkpoints are kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from reprise_trainer.config.section import Section

BestBy = Literal["loss", "validation"]


class CheckpointSection(Section):
    every: int | None = Field(default=None, ge=1, description="Steps between checkpoints; one is made at the end.")
    keep_last: int | None = Field(
        default=None, ge=1, description="How many of the newest checkpoints are kept; without it all are."
    )
    keep_every: int | None = Field(
        default=None, ge=1, description="Kept beside the newest: those after a multiple of this many steps."
    )
    keep_best: int = Field(default=0, ge=0, description="Kept beside the newest: this many of the best by `metric`.")
    metric: BestBy = Field(
        default="loss",
        description="What best means: the lowest mean loss in training since the checkpoint before (`loss`), "
        "or in the validation of the checkpoint itself (`validation`).",
    )

    @model_validator(mode="after")
    def _fits(self) -> CheckpointSection:
        if self.keep_last is None and (self.keep_every is not None or self.keep_best > 0):
            raise ValueError("keep_every and keep_best say what is kept beside the newest ones: give keep_last too")
        return self
