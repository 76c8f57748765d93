"""What a fetch did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fetched:
    """One artifact that came in: `size` in bytes, and the address that had it (without credentials; empty when
    another process brought it meanwhile, or an earlier one left it complete)."""

    purl: str
    size: int
    url: str


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a fetch did: the purls that the store had already, and what came in."""

    present: tuple[str, ...]
    fetched: tuple[Fetched, ...]

    @property
    def bytes(self) -> int:
        """Their size together."""
        return sum(each.size for each in self.fetched)
