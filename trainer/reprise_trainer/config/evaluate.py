"""`[evaluate]`: what the trained model is measured on, and by what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reprise_trainer.config.section import Section

MetricName = Literal[
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "f1_weighted",
    "cohen_kappa",
    "matthews_corrcoef",
    "top_5_accuracy",
    "log_loss",
]


class EvaluateSection(Section):
    split: str = Field(default="test", description="Split that the trained model is measured on.")
    batch_size: int = Field(
        default=500, ge=1, le=2**20, description="Records at a time; the last batch is padded to it."
    )
    metrics: list[MetricName] = Field(
        default=["accuracy", "log_loss"], description="What is computed, by scikit-learn's names."
    )
    group: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*$",
        description="Field whose values are groups of records that are compared (fairness).",
    )
    membership: bool = Field(
        default=False,
        description="Measure how well losses tell training records from those of the split (privacy).",
    )
