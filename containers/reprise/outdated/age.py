"""One locked package: when its file was published, and the newest version that its place has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprise.lock.model import Artifact

HEADER = ("age", "package", "locked", "released", "newest", "released")
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Age:
    """`released` and `newest_released` are None where no place tells; `newest` is the locked version where none is
    newer, and empty where no place knows the package."""

    artifact: Artifact
    released: datetime | None = None
    newest: str = ""
    newest_released: datetime | None = None

    @property
    def outdated(self) -> bool:
        """Whether a newer version is known."""
        return self.newest not in ("", self.artifact.version)

    def days(self, now: datetime) -> int | None:
        """Whole days since the locked file was published."""
        return None if self.released is None else max(0, int((now - self.released).total_seconds() // _DAY))


@dataclass(frozen=True, slots=True)
class AgeReport:
    """Ages, oldest first and unknown ones last, and the places that did not answer, each with its reason."""

    environment: str
    ages: tuple[Age, ...]
    silent: tuple[str, ...]
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """The report for `--json`."""
        return {
            "environment": self.environment,
            "at": self.at.isoformat(timespec="seconds"),
            "packages": [
                {
                    "purl": each.artifact.purl,
                    "name": each.artifact.name,
                    "version": each.artifact.version,
                    "released": _day(each.released),
                    "days": each.days(self.at),
                    "newest": each.newest or None,
                    "newest_released": _day(each.newest_released),
                    "outdated": each.outdated,
                }
                for each in self.ages
            ],
            "silent": list(self.silent),
        }

    def table(self) -> list[tuple[str, ...]]:
        """One row a package, as `HEADER` says."""
        return [self._row(each) for each in self.ages]

    def _row(self, age: Age) -> tuple[str, ...]:
        days = age.days(self.at)
        newest = age.newest if age.outdated else ("=" if age.newest else "?")
        return (
            "?" if days is None else f"{days} d",
            age.artifact.name,
            age.artifact.version,
            _day(age.released) or "?",
            newest,
            (_day(age.newest_released) or "?") if age.outdated else "",
        )


def oldest_first(ages: Iterable[Age]) -> Sequence[Age]:
    """Sorted by the day of release; what has none comes last, by name."""
    return sorted(
        ages, key=lambda age: (age.released is None, age.released.timestamp() if age.released else 0, age.artifact.name)
    )


def _day(time: datetime | None) -> str | None:
    return None if time is None else time.date().isoformat()
