"""`[validation]`: how a run is measured while it trains, and when it may end early."""

from __future__ import annotations

from pydantic import Field

from reprise_trainer.config.section import Section


class ValidationSection(Section):
    every: int = Field(ge=1, description="Steps between two validations.")
    split: str = Field(default="validation", description="Split whose mean loss is measured; never the test split.")
    batch_size: int = Field(default=500, ge=1, le=2**20, description="Records at a time in a validation.")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="End the run after this many validations without a lower loss; never by default.",
    )
