"""What moved between two locks of one environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reprise.lock.model import Artifact, Lock


@dataclass(frozen=True, slots=True)
class Change:
    """A package that was added (`old` is None), removed (`new` is None) or moved. Sizes are in bytes, 0 if unknown."""

    kind: str
    name: str
    old: Artifact | None
    new: Artifact | None
    old_size: int = 0
    new_size: int = 0

    @property
    def what(self) -> str:
        """ "added", "removed", "moved" to another version, or "rebuilt": another file of the same version."""
        if self.old is None or self.new is None:
            return "added" if self.old is None else "removed"
        return "rebuilt" if self.old.version == self.new.version else "moved"

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "change": self.what,
            "kind": self.kind,
            "name": self.name,
            "old": _side(self.old, self.old_size),
            "new": _side(self.new, self.new_size),
        }

    def __str__(self) -> str:
        mark = {"added": "+", "removed": "-", "moved": " ", "rebuilt": " "}[self.what]
        sides = [each for each in (self.old, self.new) if each]
        versions = list(dict.fromkeys(_version(each, full=self.what == "rebuilt") for each in sides))
        sizes = [each for each in (self.old_size, self.new_size) if each]
        shown = " → ".join(_megabytes(each) for each in sizes)
        return f"{mark} {self.kind:<5} {self.name} {' → '.join(versions)}{f'  ({shown})' if shown else ''}"


def changes_between(
    old: Lock | None, new: Lock, sizes: Mapping[str, int], known_size: Callable[[Artifact], int]
) -> tuple[Change, ...]:
    """The packages that differ, sorted by kind and name.

    Args:
        old: None where there was no lock.
        sizes: bytes of the new lock's files, by package URL.
        known_size: bytes of an old lock's file, 0 where nobody knows.
    """
    before, after = _by_name(old), _by_name(new)
    found = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was is None or now is None or (was.purl, was.sha256) != (now.purl, now.sha256):
            was_size = (was.size or known_size(was)) if was else 0
            now_size = (now.size or sizes.get(now.purl, 0) or known_size(now)) if now else 0
            found.append(Change(key[0], key[1], was, now, was_size, now_size))
    return tuple(found)


def _by_name(lock: Lock | None) -> dict[tuple[str, str, str], Artifact]:
    return {(each.kind, each.name, each.category): each for each in lock.artifacts} if lock else {}


def _version(artifact: Artifact, *, full: bool) -> str:
    return f"{artifact.version} ({artifact.qualifier('build') or artifact.sha256[:12]})" if full else artifact.version


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} kB"


def _side(artifact: Artifact | None, size: int) -> dict[str, Any] | None:
    if artifact is None:
        return None
    named = {"version": artifact.version, "purl": artifact.purl, "sha256": artifact.sha256}
    return {**named, "size": size or None}
