"""`[start]`: another run's checkpoint that training starts from, for fine-tuning and for incremental training."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reprise_trainer.config.section import Section

Pattern = Annotated[str, Field(min_length=1)]


class StartSection(Section):
    checkpoint: str = Field(
        min_length=1,
        description="Folder, beside the configuration, of the checkpoint to start from, or of a run for its newest; "
        "or the digest of a checkpoint in the store.",
    )
    state: str = Field(
        default="",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="State digest of that checkpoint; written into the run's configuration when empty.",
    )
    record: str = Field(
        default="",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="Digest of the record of the run that made it; written in when empty, where that run has one.",
    )
    include: list[Pattern] = Field(
        default=["*"], min_length=1, description="Globs of the tensors to take: parameters and buffers by their names."
    )
    exclude: list[Pattern] = Field(default=[], description="Globs of the tensors to leave as a new run has them.")
