"""`[evaluate]`: what the trained model is measured on."""

from __future__ import annotations

from pydantic import Field

from reprise_trainer.config.section import Section


class EvaluateSection(Section):
    split: str = Field(default="test", description="Split that the trained model is measured on.")
    batch_size: int = Field(
        default=500, ge=1, le=2**20, description="Records at a time; the last batch is padded to it."
    )
