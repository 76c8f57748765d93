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

from reprise.lock import conda
from reprise.lock.conda import LockedPackage, Virtual
from reprise.lock.model import CONDA_LOCK, Artifact, Lock
from reprise.lock.pypi import Given, LockedWheel, solve
from reprise.lock.target import Target
from reprise_trainer.errors import InputError


@dataclass(frozen=True, slots=True)
class Kept:
    """A lock from which only the packages called `moving` may move, and what that forces.

    First all but the named packages stay. Where what those need, at their newest, does not stay with the lock, it may
    move as well, if that brings a named one further. What needs a named package never moves for it.

    `debian` are versions of all but the named packages; `wheels` are by (category, canonical name).
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
    packages, wheels = _entries(lock, folder)
    return Kept(moving, debs, tuple(packages), wheels)


def _entries(lock: Lock, folder: Path) -> tuple[list[LockedPackage], dict[tuple[str, str], LockedWheel]]:
    artifacts: dict[tuple[str, str, str], Artifact] = {}
    for each in lock.artifacts:
        artifacts[each.location or each.purl, each.sha256, each.category] = each
    packages, wheels = [], {}
    for entry in json.loads((folder / CONDA_LOCK).read_bytes())["package"]:
        artifact = artifacts[entry["url"], entry["hash"]["sha256"], entry["category"]]
        needs = entry.get("dependencies", {})
        if entry["manager"] == "conda":
            build, hashes = artifact.qualifier("build"), entry["hash"]
            depends = tuple(f"{name} {spec}".strip() for name, spec in needs.items())
            packages.append(
                LockedPackage(
                    *(entry["name"], entry["version"], build, entry["url"], hashes["md5"], hashes["sha256"]),
                    depends=depends,
                )
            )
        else:
            wheels[artifact.category, artifact.name] = LockedWheel(artifact, "", needs)
    return packages, wheels


def solve_packages(
    channels: Sequence[str], specs: Sequence[str], virtual: Sequence[Virtual], constraints: Sequence[str], kept: Kept
) -> tuple[LockedPackage, ...]:
    """`conda.solve`, with the kept packages where they are, as far as the environment still accepts them."""

    def solve_without(moving: Collection[str]) -> tuple[LockedPackage, ...]:
        staying = [each for each in kept.conda if each.name not in moving]
        return conda.solve(channels, specs, virtual, constraints=constraints, locked=staying)

    less = solve_without(kept.moving)
    if not any(each.name in kept.moving for each in kept.conda):
        return less
    more = solve_without(kept.moving | _forced_packages(kept, solve_without({e.name for e in kept.conda}), virtual))
    return less if _named(less, kept) == _named(more, kept) else more


def _named(packages: Sequence[LockedPackage], kept: Kept) -> list[str]:
    return [each.url for each in packages if each.name in kept.moving]


def _forced_packages(kept: Kept, free: Sequence[LockedPackage], virtual: Sequence[Virtual]) -> set[str]:
    newest = {each.name: each for each in free}
    now = {each.name: each for each in kept.conda}
    moving = {name for name in kept.moving if name in newest}
    forced = set(moving)
    while moving:
        now |= {name: newest[name] for name in moving}
        problems = conda.unmet(list(now.values()), virtual)
        needed = {spec.split()[0] for package, spec, _ in problems if package in forced}
        moving = {name for name in needed if name in newest and name not in forced}
        forced |= moving
    return forced


def solve_wheels(
    requirements: Sequence[str], target: Target, category: str, given: Given, kept: Kept
) -> list[LockedWheel]:
    """`pypi.solve`, with the kept wheels where they are.

    Should the environment have changed so far that they cannot stay, all is solved afresh.
    """
    locked = {name: wheel for (each, name), wheel in kept.wheels.items() if each == category}
    if not locked:
        return solve(requirements, target, category, given)
    free = {each.artifact.name: each for each in solve(requirements, target, category, given)}
    first = kept.moving | _outdated(requirements, locked)
    found = list(free.values())
    named = None
    for moving in (first | _forced(first, free, locked), first):  # the smaller set counts where it brings as much
        pins = {name: wheel.artifact.version for name, wheel in locked.items() if name not in moving}
        try:
            less = solve(requirements, target, category, Given(given.provided, {**pins, **given.pins}))
        except InputError:
            continue
        versions = {each.artifact.name: each.artifact.version for each in less if each.artifact.name in first}
        if named is None or versions == named:
            found, named = less, versions
    return [_same_file(each, locked.get(each.artifact.name)) for each in found]


def _outdated(requirements: Sequence[str], locked: Mapping[str, LockedWheel]) -> set[str]:
    """Locked packages that the environment, as it is by now, does not accept."""
    named = {str(canonicalize_name(each.name)): each.specifier for each in map(Requirement, requirements)}
    return {
        name
        for name, specifier in named.items()
        if name in locked and not specifier.contains(locked[name].artifact.version, prereleases=True)
    }


def _forced(named: Collection[str], free: Mapping[str, LockedWheel], locked: Mapping[str, LockedWheel]) -> set[str]:
    """What the newest versions of the named packages need, and no longer accept as it is locked; over and over."""
    forced: set[str] = set()
    queue = [name for name in named if name in free]
    while queue:
        for needed, specifier in free[queue.pop()].dependencies.items():
            if needed in locked and needed not in forced and not _accepts(specifier, locked[needed]):
                forced.add(needed)
                queue += [needed] if needed in free else []
    return forced


def _accepts(specifier: str, wheel: LockedWheel) -> bool:
    return SpecifierSet(specifier).contains(wheel.artifact.version, prereleases=True)


def _same_file(found: LockedWheel, locked: LockedWheel | None) -> LockedWheel:
    """The locked file where the version is the same: an index may have a better one by now."""
    if locked is None or found.artifact.version != locked.artifact.version:
        return found
    return found if found.artifact == locked.artifact else locked
