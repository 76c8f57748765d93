"""`--update NAME`: what stays as it is locked, and what may move."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from reprise.lock.conda import LockedPackage
from reprise.lock.model import CONDA_LOCK, Artifact, Lock
from reprise.lock.pypi import Given, LockedWheel, solve
from reprise.lock.target import Target
from reprise_trainer.errors import InputError


@dataclass(frozen=True, slots=True)
class Kept:
    """A lock from which only the packages called `moving` may move, and what that forces.

    `wheels` are the locked ones by (category, canonical name).
    """

    moving: frozenset[str] = frozenset()
    debian: Mapping[str, str] = field(default_factory=dict)
    conda: tuple[LockedPackage, ...] = ()
    wheels: Mapping[tuple[str, str], LockedWheel] = field(default_factory=dict)


NOTHING = Kept()
"""Nothing is kept: all packages are solved afresh."""


def keep(lock: Lock, folder: Path, update: Collection[str]) -> Kept:
    """What stays of `lock`, which lies in `folder`, when `update` are let go.

    Raises:
        InputError: the lock has no package of such a name.
    """
    names = {each.name for each in lock.artifacts}
    for name in update:
        if not {name, canonicalize_name(name)} & names:
            near = get_close_matches(name, sorted(names), n=3)
            hint = f"did you mean: {', '.join(near)}?" if near else "A new package comes in without --update."
            raise InputError(f"{folder} has no package {name} to update", hint=hint)
    moving = frozenset(update) | {canonicalize_name(name) for name in update}
    debs = {each.name: each.version for each in lock.artifacts if each.kind == "deb" and each.name not in moving}
    conda, wheels = _entries(lock, folder)
    return Kept(moving, debs, tuple(each for each in conda if each.name not in moving), wheels)


def _entries(lock: Lock, folder: Path) -> tuple[list[LockedPackage], dict[tuple[str, str], LockedWheel]]:
    artifacts: dict[tuple[str, str, str], Artifact] = {}
    for each in lock.artifacts:
        artifacts[each.location or each.purl, each.sha256, each.category] = each
    conda, wheels = [], {}
    for entry in json.loads((folder / CONDA_LOCK).read_bytes())["package"]:
        artifact = artifacts[entry["url"], entry["hash"]["sha256"], entry["category"]]
        needs = entry.get("dependencies", {})
        if entry["manager"] == "conda":
            build, hashes = artifact.qualifier("build"), entry["hash"]
            depends = tuple(f"{name} {spec}".strip() for name, spec in needs.items())
            conda.append(
                LockedPackage(
                    *(entry["name"], entry["version"], build, entry["url"], hashes["md5"], hashes["sha256"]),
                    depends=depends,
                )
            )
        else:
            wheels[artifact.category, artifact.name] = LockedWheel(artifact, "", needs)
    return conda, wheels


def solve_wheels(
    requirements: Sequence[str], target: Target, category: str, given: Given, kept: Kept
) -> list[LockedWheel]:
    """`pypi.solve`, with the kept wheels where they are.

    What moves beside the named packages is what their new versions do not accept, or what does not accept them, over
    and over until nothing follows; should pip still find that more has to move, all may.
    """
    locked = {name: wheel for (each, name), wheel in kept.wheels.items() if each == category}
    if not locked:
        return solve(requirements, target, category, given)
    free = solve(requirements, target, category, given)
    moving = _forced({each.artifact.name: each for each in free}, locked, kept.moving, requirements)
    pins = {name: wheel.artifact.version for name, wheel in locked.items() if name not in moving}
    if all(pins.get(each.artifact.name, each.artifact.version) == each.artifact.version for each in free):
        found = free
    else:
        try:
            found = solve(requirements, target, category, Given(given.provided, {**pins, **given.pins}))
        except InputError:
            found = free
    return [_same_file(each, locked.get(each.artifact.name)) for each in found]


def _forced(
    free: Mapping[str, LockedWheel],
    locked: Mapping[str, LockedWheel],
    named: Collection[str],
    requirements: Sequence[str],
) -> set[str]:
    """The named packages and all that cannot stay beside their newest versions."""
    moving = {name for name in named if name in locked}
    for requirement in map(Requirement, requirements):  # a changed environment file moves what it no longer accepts
        name = str(canonicalize_name(requirement.name))
        if name in locked and not requirement.specifier.contains(locked[name].artifact.version, prereleases=True):
            moving.add(name)
    while True:
        now = {
            name: free[name] if name in moving and name in free else wheel
            for name, wheel in locked.items()
            if name not in moving or name in free
        }
        more = set()
        for name, wheel in now.items():
            for needed, specifier in wheel.dependencies.items():
                if needed in now and not _accepts(specifier, now[needed]):
                    more |= {needed} if name in moving else {name}
        if more <= moving:
            return moving
        moving |= more


def _accepts(specifier: str, wheel: LockedWheel) -> bool:
    return SpecifierSet(specifier).contains(wheel.artifact.version, prereleases=True)


def _same_file(found: LockedWheel, locked: LockedWheel | None) -> LockedWheel:
    """The locked file where the version is the same: an index may have a better one by now."""
    if locked is None or found.artifact.version != locked.artifact.version:
        return found
    return found if found.artifact == locked.artifact else locked
