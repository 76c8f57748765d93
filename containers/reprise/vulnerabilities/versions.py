"""The order of versions in each ecosystem: PyPI's, Debian's and conda's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import total_ordering
from itertools import zip_longest
from typing import Any

from packaging.version import InvalidVersion, Version

Key = Callable[[str], Any]
"""From a version's text to a value that compares as the version does; ValueError where it is none."""

_END = (-1, 0)
_TILDE = -2
_CONDA = re.compile(r"[0-9a-z_.*]+")
_CONDA_RUN = re.compile(r"[0-9]+|[a-z*_]+")

_Atom = tuple[int, int, str]
_Parts = tuple[tuple[_Atom, ...], ...]
_CONDA_FILL: _Atom = (1, 0, "")
_CONDA_WORDS: dict[str, _Atom] = {"dev": (-1, 0, ""), "post": (2, 0, "")}


def pypi_key(version: str) -> Version:
    """PyPI's order (PEP 440) of public versions: a local label (`+cpu`) names a build of the same release."""
    try:
        return Version(Version(version).public)
    except InvalidVersion as error:
        raise ValueError(str(error)) from error


def debian_key(version: str) -> tuple[int, list[Any], list[Any]]:
    """Debian's order (policy 5.6.12, deb-version(7)): epoch, upstream version, revision."""
    epoch, colon, rest = version.strip().rpartition(":")
    if (colon and not epoch.isdecimal()) or not rest:
        raise ValueError(f"{version!r} is not a Debian version")
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch or 0), _debian_part(upstream), _debian_part(revision or "0")


def _debian_part(text: str) -> list[Any]:
    """Runs of other characters and numbers in turn; each run ends with a mark that sorts after `~`, before all else."""
    parts: list[Any] = []
    for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", text):
        if letters or digits:
            parts += [[*map(_debian_character, letters), _END], int(digits or 0)]
    return [*parts, [_END], 0]


def _debian_character(character: str) -> tuple[int, int]:
    """`~` before the end of the text, letters before all other characters."""
    if character == "~":
        return (_TILDE, 0)
    return (0 if character.isalpha() else 1, ord(character))


@dataclass(frozen=True, slots=True, eq=False)
@total_ordering
class CondaVersion:
    """A version in conda's order (conda's documentation, "Version ordering"): epoch, version, local version.

    Parts are separated by `.`, `_` or `-`; in a part, numbers and letters are compared apart; `dev` sorts before all
    letters, letters before numbers, `post` after them; what is missing counts as 0.
    """

    epoch: int
    public: _Parts
    local: _Parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CondaVersion) and self._compare(other) == 0

    def __lt__(self, other: CondaVersion) -> bool:
        return self._compare(other) < 0

    def __hash__(self) -> int:
        return hash(self.epoch)  # equal versions may have parts of different length

    def _compare(self, other: CondaVersion) -> int:
        if self.epoch != other.epoch:
            return -1 if self.epoch < other.epoch else 1
        return _compare_parts(self.public, other.public) or _compare_parts(self.local, other.local)


def conda_key(version: str) -> CondaVersion:
    """The place of a version in conda's order; ValueError where it is none."""
    text = version.strip().lower().replace("-", "_")
    epoch, mark, rest = text.rpartition("!")
    public, plus, local = rest.partition("+")
    if not _CONDA.fullmatch(public) or (mark and not epoch.isdecimal()) or (plus and not _CONDA.fullmatch(local)):
        raise ValueError(f"{version!r} is not a conda version")
    return CondaVersion(int(epoch or 0), _conda_parts(public), _conda_parts(local) if local else ())


def _conda_parts(text: str) -> _Parts:
    """A trailing underscore belongs to the last part: `1.0.1_` sorts before `1.0.1a` (the same page)."""
    pieces = re.split(r"[._]", text.removesuffix("_"))
    if text.endswith("_"):
        pieces[-1] += "_"
    return tuple(tuple(_conda_atoms(piece)) for piece in pieces)


def _conda_atoms(piece: str) -> Iterator[_Atom]:
    runs = _CONDA_RUN.findall(piece)
    if not runs or not runs[0].isdecimal():
        yield _CONDA_FILL
    for run in runs:
        yield (1, int(run), "") if run.isdecimal() else _CONDA_WORDS.get(run, (0, 0, run))


def _compare_parts(ours: _Parts, theirs: _Parts) -> int:
    for our, their in zip_longest(ours, theirs, fillvalue=(_CONDA_FILL,)):
        for one, other in zip_longest(our, their, fillvalue=_CONDA_FILL):
            if one != other:
                return -1 if one < other else 1
    return 0


KEYS: dict[str, Key] = {"PyPI": pypi_key, "Debian": debian_key, "conda": conda_key}
"""By the ecosystem's name before its colon, as in OSV's `Debian:12`; `conda` is named by a purl alone."""
