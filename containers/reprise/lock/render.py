"""The texts of a lock's files: sorted and stable, so that a changed package is a few changed lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from reprise.lock.conda import LockedPackage
from reprise.lock.conda_part import CondaSolution, public_channels
from reprise.lock.debian import DebianSolution
from reprise.lock.extra import not_installed
from reprise.lock.model import CONDA_SPEC, FORMAT, Environment, LockedConda, PlannedLayer
from reprise.lock.pypi import LockedWheel
from reprise.lock.specification import Specification

_NOTHING = Specification((), ())


def conda_spec(environment: Environment, asked: Specification = _NOTHING) -> str:
    """`environment.yml`: the conda and the Python part as a conda specification, for people and for conda's own tools.

    Args:
        asked: what the conda part asks for; nothing where the environment has none, or takes somebody's lock.
    """
    requirements = [*environment.pypi.requirements, *asked.requirements]
    channels = public_channels(asked)
    lines = [
        f"# Written by `reprise lock {environment.name}` from the environment's TOML, which is what to edit.",
        f"name: {environment.name}",
        "channels:" if channels else "channels: []",
        *(f"  - {json.dumps(each)}" for each in channels),
        "platforms:",
        f"  - {environment.platform}",
        "dependencies:",
        *(f"  - {json.dumps(each)}" for each in asked.specs),
        *(["  - pip:"] if requirements or not asked.specs else []),
        *(f"      - {json.dumps(each)}" for each in requirements),
    ]
    return "\n".join(lines) + "\n"


def conda_lock(environment: Environment, wheels: Sequence[LockedWheel], solution: CondaSolution | None = None) -> str:
    """`conda-lock.yml`, made by conda-lock's own models and written as JSON text, which is YAML too.

    Raises:
        SystemFailureError: conda-lock is not installed.
    """
    try:
        from conda_lock.lockfile.v1.models import InputMeta, Lockfile, LockMeta
        from conda_lock.models.channel import Channel
    except ImportError as error:
        raise not_installed("conda-lock") from error
    solution = solution or CondaSolution(_NOTHING)
    more = {"inputs_metadata": {name: InputMeta(**each) for name, each in solution.inputs.items()}}
    metadata = LockMeta(
        content_hash={environment.platform: environment.content_sha256},
        channels=[Channel(url=each, used_env_vars=()) for each in public_channels(solution.asked)],
        platforms=[environment.platform],
        sources=[CONDA_SPEC],
        custom_metadata=_custom(environment, solution),
        **(more if solution.inputs else {}),
    )
    packages = [_conda_entry(environment, each) for each in sorted(solution.packages, key=lambda each: each.name)]
    packages += [
        _pip_entry(environment, each)
        for each in sorted(wheels, key=lambda wheel: (wheel.artifact.name, wheel.artifact.category))
    ]
    return _text(Lockfile(metadata=metadata, package=packages).dict_for_output())


def _custom(environment: Environment, solution: CondaSolution) -> dict[str, str]:
    """What a lock says beyond conda-lock's own fields; all values are texts, those of ours JSON."""
    custom = {"environment": environment.name, "python": environment.python}
    if environment.format != 1:
        custom["format"] = str(environment.format)
    if solution.conda is not None:
        custom |= _conda_custom(solution.conda)
    if solution.provided:
        custom["provides"] = _compact(solution.provided)
    return custom


def _conda_custom(conda: LockedConda) -> dict[str, str]:
    custom = {"prefix": conda.prefix, "virtual_packages": _compact(dict(conda.virtual))}
    if conda.site_packages:
        custom["site_packages"] = conda.site_packages
    allow: dict[str, Any] = {}
    if conda.allowed.post_link:
        allow["post_link"] = sorted(conda.allowed.post_link)
    if conda.allowed.clobbers:
        allow["clobbers"] = dict(conda.allowed.clobbers)
    return custom | ({"allow": _compact(allow)} if allow else {})


def _conda_entry(environment: Environment, package: LockedPackage) -> Any:
    from conda_lock.lockfile.v1.models import HashModel, LockedDependency

    return LockedDependency(
        name=package.name,
        version=package.version,
        manager="conda",
        platform=environment.platform,
        dependencies=_dependencies(package.depends),
        url=package.url,
        hash=HashModel(md5=package.md5, sha256=package.sha256),
        build=package.build,
        category="main",
        optional=False,
    )


def _dependencies(specs: Sequence[str]) -> dict[str, str]:
    """Match specs by name, of which conda-lock has one a name."""
    found: dict[str, set[str]] = {}
    for spec in specs:
        name, _, rest = spec.strip().partition(" ")
        found.setdefault(name, set()).add(rest.strip())
    return {name: _together(sorted(rests - {""})) for name, rests in sorted(found.items())}


def _together(rests: Sequence[str]) -> str:
    """One version spec for several: a comma means "and" (conda's match specs), but a build can't stand beside one."""
    if len(rests) < 2:
        return "".join(rests)
    return next((each for each in rests if " " in each), ",".join(f"({e})" if "|" in e else e for e in rests))


def _pip_entry(environment: Environment, wheel: LockedWheel) -> Any:
    from conda_lock.lockfile.v1.models import HashModel, LockedDependency

    return LockedDependency(
        name=wheel.artifact.name,
        version=wheel.artifact.version,
        manager="pip",
        platform=environment.platform,
        dependencies=dict(wheel.dependencies),
        url=wheel.artifact.purl,
        hash=HashModel(sha256=wheel.artifact.sha256),
        category=wheel.artifact.category,
        optional=wheel.artifact.category != "main",
    )


def debian_lock(solution: DebianSolution) -> str:
    """`debian.lock.json`."""
    packages = [
        {"purl": each.purl, "sha256": each.sha256, "size": each.size, "path": each.location}
        for each in solution.packages
    ]
    return _text({"format": FORMAT, "suite": solution.suite, "created": solution.created, "packages": packages})


def layer_plan(layers: Sequence[PlannedLayer]) -> str:
    """`layers.json`, lowest layer first."""
    return _text({"format": FORMAT, "layers": [{"name": e.name, "artifacts": list(e.artifacts)} for e in layers]})


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _text(document: Mapping[str, Any]) -> str:
    """Sorted JSON on many lines: a changed package is a changed line, as people review it."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
