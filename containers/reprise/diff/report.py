"""What a comparison says: findings, each with the layer, the artifact, the path and the cause."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Cause = Literal[
    "missing",
    "added",
    "type",
    "mode",
    "owner",
    "time",
    "link target",
    "attributes",
    "content",
    "bytecode",
    "prefix",
    "order",
    "line endings",
    "compressor",
    "tar",
    "layer",
    "config",
]
"""The classes of causes; docs/rebuilding.md says what each means."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `layer`, `artifact` (package URL) and `path` are empty where they don't apply; `detail` says what
    was found in words, and `lines` are those of a unified diff of a text."""

    cause: Cause
    detail: str
    layer: str = ""
    artifact: str = ""
    path: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiffReport:
    """The comparison of `left` with `right`; `consequences` counts files that only repeat what the findings say (lists
    and inventory of the image)."""

    left: str
    right: str
    findings: tuple[Finding, ...]
    consequences: int = 0

    @property
    def same(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "same": self.same,
            "left": self.left,
            "right": self.right,
            "findings": [asdict(finding) for finding in self.findings],
            "consequences": self.consequences,
        }
