"""`[code]`: a folder of the user's own Python code that a run imports from."""

from __future__ import annotations

from pydantic import Field

from reprise_trainer.config.section import Section


class CodeSection(Section):
    folder: str = Field(
        pattern=r"^[^/\x00][^\x00]*$",
        description="Folder of your own modules, beside the configuration; a run imports from it.",
    )
    sha256: str = Field(
        default="",
        pattern=r"^([0-9a-f]{64})?$",
        description="Digest of the folder's canonical archive, hex; written into the run's configuration when empty.",
    )
