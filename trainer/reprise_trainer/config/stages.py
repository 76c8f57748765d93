"""`[stages]`: functions of the user's own in the place of, or beside, the trainer's."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from reprise_trainer.config.section import Section
from reprise_trainer.entry_point import PATTERN


class StageSection(Section):
    function: str = Field(pattern=PATTERN, description="Your function `package.module:function`.")
    options: dict[str, Any] = Field(default={}, description="A table of your own, passed on by name.")


class StagesSection(Section):
    preprocess: StageSection | None = Field(
        default=None, description="Called with each batch's fields, in training and in evaluation; gives new fields."
    )
    train: StageSection | None = Field(default=None, description="Called in the place of the training loop.")
    evaluate: StageSection | None = Field(
        default=None, description="Called with the split's batches and predictions; gives further metrics by name."
    )
    report: StageSection | None = Field(
        default=None, description="Called with the run record and the output folder; writes files of its own."
    )
