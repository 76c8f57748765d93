"""`[run]`: the run's name, image, profile and seed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reprise_trainer.config.section import Section


class RunSection(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$", description="Name of the run, for people.")
    environment: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Environment whose image the run uses.")
    profile: Literal["x86-64-v3", "portable", "cuda", "fast"] = Field(
        default="x86-64-v3",
        description="Numeric settings that decide the bits: `x86-64-v3`, `portable`, `cuda` or `fast`.",
    )
    seed: int = Field(ge=0, lt=2**63, description="Keys record order, initial values and dropout.")
    threads: int = Field(ge=1, le=256, description="Threads inside one operation; part of what decides the bits.")
