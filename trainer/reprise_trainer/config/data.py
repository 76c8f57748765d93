"""`[data]`: which data the snapshot is made from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reprise_trainer.config.section import Section


class DataSection(Section):
    name: Literal["fashion-mnist"] = Field(description="Which ingest makes the snapshot.")
    artifact: str = Field(pattern=r"^pkg:", description="Package URL of the file that holds the data.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="The artifact's sha256, hex.")
    path: str = Field(default="", description="Where the artifact lies in its distribution; a hint, never a host.")
