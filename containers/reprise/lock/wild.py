"""A conda-lock file that somebody else's tools wrote: each entry is used as it is, or refused by a message naming it.

It is read by conda-lock's own parser. Of its pip entries, dependencies count only where the file has the package:
their markers are not in it, so that one which is missing may be one that this platform does not need.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name, canonicalize_version, parse_wheel_filename

from reprise.lock.conda import LockedPackage, Virtual, unmet, without_credentials
from reprise.lock.conda_address import conda_purl
from reprise.lock.extra import not_installed
from reprise.lock.model import PLATFORM, Artifact
from reprise.lock.pypi import LockedWheel, wheel_purl
from reprise.lock.target import Target
from reprise_trainer.errors import InputError, NotFoundError

MAIN = "main"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN = 20

ByMd5 = Callable[[str, str, str], tuple[str, int]]
"""Fetches (manager, address, md5) and gives the sha256 and the bytes that it saw."""


@dataclass(frozen=True, slots=True)
class WildLock:
    """The entries that an image takes."""

    packages: tuple[LockedPackage, ...]
    wheels: tuple[LockedWheel, ...]


class _RefusedError(Exception):
    """Why an entry can't be used."""


def read_wild_lock(
    path: Path,
    target: Target,
    virtual: tuple[Virtual, ...],
    categories: Iterable[str] = (),
    by_md5: ByMd5 | None = None,
) -> WildLock:
    """The entries for the image's platform, of the category main and of `categories`.

    Args:
        path: a conda-lock file in format 1, as YAML or JSON.
        target: what the wheels have to fit.
        virtual: what the conda packages may count on.
        by_md5: called for entries without sha256; when it is None they are refused.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is no such file, lacks the platform or a category, or has entries that can't be used.
        UnavailableError: an entry that is known by md5 alone can't be fetched.
        SystemFailureError: conda-lock is not installed.
    """
    entries = [each for each in _parse(path) if not each.name.startswith("__")]
    platforms = {each.platform for each in entries}
    if entries and PLATFORM not in platforms:
        raise InputError(f"{path} has no entries for {PLATFORM}, only for {', '.join(sorted(platforms))}")
    wanted = {MAIN, *categories}
    if unknown := wanted - {MAIN} - {category for each in entries for category in each.categories}:
        raise InputError(f"{path} has no category {', '.join(sorted(unknown))}")
    taken = [each for each in entries if each.platform == PLATFORM and wanted & each.categories]
    packages, wheels, refused = [], [], []
    for entry in taken:
        try:
            if entry.manager == "conda":
                packages.append(_package(entry, by_md5))
            else:
                wheels.append(_wheel(entry, target, by_md5, taken))
        except _RefusedError as error:
            refused.append(f"{entry.name} {entry.version} ({entry.manager}) {error}")
    if packages and not refused:
        refused += (f"{name} (conda) needs {spec}, {_found(found)}" for name, spec, found in unmet(packages, virtual))
    if refused:
        raise _refusal(path, refused)
    return WildLock(
        tuple(sorted(packages, key=lambda each: each.name)), tuple(sorted(wheels, key=lambda each: each.artifact.name))
    )


def _found(found: str) -> str:
    return f"the file has {found}" if found else "which neither the file nor [conda.virtual] has"


def _refusal(path: Path, refused: list[str]) -> InputError:
    more = [f"and {len(refused) - _SHOWN} more"] if len(refused) > _SHOWN else []
    lines = "".join(f"\n  - {each}" for each in [*refused[:_SHOWN], *more])
    only_md5 = all("--accept-md5" in each for each in refused)
    hint = "" if only_md5 else "Change these in the file's own source, and lock it again with the tool that wrote it."
    count = "an entry that" if len(refused) == 1 else f"{len(refused)} entries that"
    return InputError(f"{path} has {count} cannot be used:{lines}", hint=hint)


def _package(entry: Any, by_md5: ByMd5 | None) -> LockedPackage:
    url = without_credentials(entry.url.partition("#")[0])
    try:
        named = Artifact(conda_purl(url), "")
    except ValueError as error:
        raise _RefusedError(f"has the address {url}, which is not a conda package's") from error
    if (named.name, named.version) != (entry.name, entry.version) or entry.build not in (
        None,
        named.qualifier("build"),
    ):
        raise _RefusedError(f"has the address of another package: {url}")
    if named.qualifier("subdir") not in (PLATFORM, "noarch"):
        raise _RefusedError(f"is for {named.qualifier('subdir')}, the image for {PLATFORM}")
    sha256, size = _sha256(entry, by_md5)
    depends = tuple(f"{name} {spec}".strip() for name, spec in sorted(entry.dependencies.items()))
    build = named.qualifier("build")
    return LockedPackage(entry.name, entry.version, build, url, entry.hash.md5 or "", sha256, size, depends)


def _wheel(entry: Any, target: Target, by_md5: ByMd5 | None, entries: Iterable[Any]) -> LockedWheel:
    url = entry.url.partition("#")[0]
    if url.startswith("git+") or urlsplit(url).scheme not in ("http", "https", "file"):
        raise _RefusedError(f"comes from {url}, which is not one released file")
    file_name = unquote(urlsplit(url).path.rpartition("/")[2])
    if not file_name.endswith(".whl"):
        raise _RefusedError(f"is a source distribution ({file_name}): installing it would run its own build")
    try:
        name, version, _, tags = parse_wheel_filename(file_name)
    except ValueError as error:
        raise _RefusedError(f"has a malformed file name: {error}") from error
    if name != canonicalize_name(entry.name) or str(version) != canonicalize_version(
        entry.version, strip_trailing_zero=False
    ):
        raise _RefusedError(f"has the file name of {name} {version}")
    if not tags & target.tags:
        raise _RefusedError(f"does not fit the image: {file_name} on Python {target.python}, x86-64 Linux")
    sha256, size = _sha256(entry, by_md5)
    artifact = Artifact(wheel_purl(name, str(version), file_name), sha256, MAIN, size=size)
    return LockedWheel(artifact, url, dict(_dependencies(entry.dependencies, entries)))


def _dependencies(found: Mapping[str, str], entries: Iterable[Any]) -> Iterator[tuple[str, str]]:
    known = {canonicalize_name(each.name) for each in entries if each.manager == "pip"}
    for name in sorted(found, key=canonicalize_name):
        if canonicalize_name(name) in known:
            yield canonicalize_name(name), _specifier(found[name])


def _specifier(text: str) -> str:
    """A version specifier (PEP 440), empty for what is none, such as "*"."""
    try:
        return str(SpecifierSet(text))
    except InvalidSpecifier:
        return ""


def _sha256(entry: Any, by_md5: ByMd5 | None) -> tuple[str, int]:
    if entry.hash.sha256:
        if not _SHA256.fullmatch(entry.hash.sha256):
            raise _RefusedError(f"has the sha256 {entry.hash.sha256!r}, which is not 64 hex digits")
        return entry.hash.sha256, 0
    if not entry.hash.md5:
        raise _RefusedError("has no hash at all")
    if by_md5 is None:
        raise _RefusedError("has an md5 and no sha256; --accept-md5 fetches it and records the sha256 that it sees")
    return by_md5(entry.manager, entry.url.partition("#")[0], entry.hash.md5)


def _parse(path: Path) -> list[Any]:
    """The entries as conda-lock's parser has them, one a package with all its categories."""
    try:
        import yaml
        from conda_lock.lockfile import MissingLockfileVersion, UnknownLockfileVersion, parse_conda_lock_file
        from pydantic import ValidationError
    except ImportError as error:
        raise not_installed("conda-lock") from error
    try:
        return list(parse_conda_lock_file(path).package)
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except ValidationError as error:
        raise InputError(f"{path} is no conda-lock file: {_where(path, error.errors()[0])}") from error
    except (MissingLockfileVersion, UnknownLockfileVersion) as error:
        raise InputError(f"{path} is no conda-lock file of format 1: {error}") from error
    except KeyError as error:  # conda-lock's validator reads a field that was refused before
        raise InputError(f"{path} is no conda-lock file: {_refused_manager(path)}") from error
    except AssertionError as error:  # conda-lock's parser asserts what it counts on
        raise InputError(f"{path} has entries twice: {', '.join(_twice(path))}") from error
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no conda-lock file: {' '.join(str(error).split())}") from error


def _where(path: Path, problem: Any) -> str:
    """A problem that pydantic found, with the name of the entry that has it."""
    place = list(problem["loc"])
    if place[:1] == ["package"] and len(place) > 1:
        entry = _raw(path)[place[1]]
        name = entry.get("name", "without a name") if isinstance(entry, dict) else "that is no mapping"
        place[:2] = [f"entry {place[1]} ({name})"]
    return f"{' '.join(map(str, place))}: {problem['msg']}"


def _refused_manager(path: Path) -> str:
    for number, entry in enumerate(_raw(path)):
        if isinstance(entry, dict) and entry.get("manager") not in ("conda", "pip"):
            return f"entry {number} ({entry.get('name')}) manager: is {entry.get('manager')!r}, expected conda or pip"
    return "an entry lacks a field"


def _twice(path: Path) -> list[str]:
    keys = ("manager", "name", "platform", "category")
    counts = Counter(tuple(str(each.get(key, MAIN)) for key in keys) for each in _raw(path))
    return sorted(f"{name} ({manager}, {platform})" for (manager, name, platform, _), n in counts.items() if n > 1)


def _raw(path: Path) -> list[Any]:
    import yaml

    return list(yaml.safe_load(path.read_bytes())["package"])
