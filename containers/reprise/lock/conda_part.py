"""An environment's conda part, from whichever of its three forms: packages, a specification, or somebody's lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from reprise.lock.conda import LockedPackage, inspect, without_credentials
from reprise.lock.inputs import input_file, input_hashes, input_name, read_input
from reprise.lock.model import CondaPart, Environment, LockedConda
from reprise.lock.pypi import LockedWheel
from reprise.lock.specification import Specification, read_specification
from reprise.lock.target import Target, target_of
from reprise.lock.update import NOTHING, Kept, solve_packages
from reprise.lock.virtual import as_records, virtual_packages
from reprise.lock.wild import ByMd5, read_wild_lock
from reprise_trainer.errors import InputError


@dataclass(frozen=True, slots=True)
class CondaSolution:
    """The conda part of a lock, and what the Python part has to know of it.

    `asked` is what was asked for. `conda` is None where the environment has no conda part. `wheels` come from a lock
    file that somebody else wrote. `provided` are the Python distributions that conda packages install, as {canonical
    name: version}; `release` is the version of conda's Python, empty where it brings none. `inputs` are the hashes of
    the file that the part was read from, by name.
    """

    asked: Specification
    conda: LockedConda | None = None
    packages: tuple[LockedPackage, ...] = ()
    wheels: tuple[LockedWheel, ...] = ()
    provided: Mapping[str, str] = field(default_factory=dict)
    release: str = ""
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def solve_conda_part(
    environment: Environment,
    environment_path: Path,
    kept: Kept = NOTHING,
    by_md5: ByMd5 | None = None,
) -> CondaSolution:
    """Solve the conda part, or take the lock that stands for it; an empty solution where there is none.

    Args:
        kept: an old lock's packages, which stay as they are where they can.
        by_md5: see `read_wild_lock`.

    Raises:
        InputError: the part is malformed, has no solution, or brings another Python than the environment's.
        NotFoundError: the file that it names, or a channel, does not exist.
        UnavailableError: a channel does not answer.
        SystemFailureError: py-rattler or conda-lock is not installed.
    """
    part = environment.conda
    asked, inputs = asked_for(environment, environment_path)
    if part is None:
        return CondaSolution(asked)
    target = target_of(environment.python, environment.platform, environment.debian.suite)
    virtual = virtual_packages(part, target.glibc)
    wheels: tuple[LockedWheel, ...] = ()
    if part.lock:
        found = read_wild_lock(Path(part.lock), target, tuple(as_records(virtual)), part.categories, by_md5)
        packages, wheels = found.packages, found.wheels
        _expect_none_to_move(part.lock, kept, [each.name for each in packages], [e.artifact.name for e in wheels])
    else:
        # one Python runs in an image: conda's, if it brings one, is the environment's
        only = [f"python {environment.python}.*"]
        packages = solve_packages(asked.channels, asked.specs, as_records(virtual), only, kept)
    python = _python(packages, environment, part)
    needs_names = python is not None and bool(environment.pypi.requirements or asked.requirements)
    locked_conda = LockedConda(part.prefix, _site_packages(python, target), virtual, part.allowed)
    provided = _provided(packages) if needs_names else {}
    release = python.version if python else ""
    return CondaSolution(asked, locked_conda, packages, wheels, provided, release, inputs)


def asked_for(
    environment: Environment, environment_path: Path
) -> tuple[Specification, Mapping[str, Mapping[str, str]]]:
    """What the environment asks conda for, and the hashes of the file that says it, by name."""
    part, file = environment.conda or CondaPart(), input_file(environment)
    if file is None:
        return _without_defaults(Specification(part.channels, part.packages), environment_path), {}
    data, name = read_input(file, environment_path), input_name(environment_path, file)
    if part.lock:
        return Specification((), ()), {name: input_hashes(data)}
    said = read_specification(data, str(file))
    asked = Specification(part.channels or said.channels, said.specs, said.requirements)
    if not asked.channels:
        raise InputError(f"{file} names no channels", hint="List them there, or in [conda] channels.")
    return _without_defaults(asked, file), {name: input_hashes(data)}


def _without_defaults(asked: Specification, place: Path) -> Specification:
    if "defaults" in asked.channels:
        raise InputError(
            f"{place}: the channel defaults stands for other channels, which depend on the machine",
            hint="Name the channel itself by its address, or conda-forge.",
        )
    return asked


def public_channels(asked: Specification) -> list[str]:
    """The channels as a lock may name them."""
    return [without_credentials(each) for each in asked.channels]


def _expect_none_to_move(file: str, kept: Kept, *names: Sequence[str]) -> None:
    if fixed := sorted(kept.moving & {name for each in names for name in each}):
        raise InputError(
            f"{', '.join(fixed)} is as {file} says, which `reprise lock` takes as it is",
            hint="Update it with the tool that wrote that file, then lock again without --update.",
        )


def _python(packages: Sequence[LockedPackage], environment: Environment, part: CondaPart) -> LockedPackage | None:
    python = next((each for each in packages if each.name == "python"), None)
    if python and not python.version.startswith(f"{environment.python}."):
        raise InputError(
            f"{part.lock or 'the conda part'} has python {python.version}, the environment {environment.python}",
            hint=f'Write python = "{".".join(python.version.split(".")[:2])}" in the environment file.',
        )
    return python


def _site_packages(python: LockedPackage | None, target: Target) -> str:
    """Where conda's Python looks for packages, relative to the prefix: its record says so where it is not usual."""
    if python is None:
        return ""
    return python.site_packages or f"lib/python{target.python}/site-packages"


def _provided(packages: Sequence[LockedPackage]) -> dict[str, str]:
    """The Python distributions that conda packages install, by the metadata that lies in them."""
    candidates = [each for each in packages if any(_depends_on_python(spec) for spec in each.depends)]
    found = {}
    for package in inspect([each.url for each in candidates]).values():
        for name, version in package.distributions:
            found[str(canonicalize_name(name))] = _version(version)
    return dict(sorted(found.items()))


def _depends_on_python(spec: str) -> bool:
    return spec.split()[0] in ("python", "python_abi")


def _version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        return "0"  # conda's packages may lack a version that pip can read; it satisfies no specifier then
