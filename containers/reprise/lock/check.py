"""The strict check of a lock: everything that must hold for it to name one image and no other."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packageurl import PackageURL
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from reprise.image.bootstrap import C_LIBRARY
from reprise.lock.conda_check import SUBDIRS, conda_lock_problems, conda_package_problems, read_packages
from reprise.lock.environment import read_environment
from reprise.lock.inputs import expect_current_inputs
from reprise.lock.layout import image_layout
from reprise.lock.model import CONDA_LOCK, DEBIAN_LOCK, Artifact, Environment, Lock
from reprise.lock.owners import find_shared_paths
from reprise.lock.plan import MAX_LAYERS
from reprise.lock.problem import Problem
from reprise.lock.read import read_lock
from reprise.lock.target import Target, target_of
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError

ADDED_LAYERS = ("base", "trainer", "source", "inventory")
"""Names of layers that the builder adds; a plan can't use them."""

_ADDED = 3
"""Layers that the builder adds to one image: the base, the trainer's, the inventory."""

_LAYER_NAME = re.compile(r"[a-z0-9]+([._+-]+[a-z0-9]+)*")


def check_lock(folder: Path, environment_path: Path, store: Store) -> list[Problem]:
    """Everything that is wrong with the lock in `folder`; an empty list when it is strict and fits its environment.

    Args:
        folder: `locks/<name>/`.
        environment_path: `containers/images/<name>.toml`.
        store: artifacts that it holds are opened, to compare the paths that they own; others can't be.

    Raises:
        InputError, NotFoundError: the environment file itself is malformed or missing.
    """
    environment = read_environment(environment_path)
    try:
        lock = read_lock(folder)
        stale = list(_input_problems(folder, environment_path))
        target = target_of(lock.python, lock.platform, _suite(folder))
    except (InputError, NotFoundError) as error:
        return [Problem(str(folder), error.message)]
    return [
        *_environment_problems(lock, environment),
        *stale,
        *_artifact_problems(lock, target),
        *_dependency_problems(folder, lock),
        *plan_problems(lock),
        *conda_lock_problems(lock),
        *_content_problems(lock, store),
    ]


def _suite(folder: Path) -> str:
    return str(json.loads((folder / DEBIAN_LOCK).read_bytes()).get("suite"))


def _environment_problems(lock: Lock, environment: Environment) -> Iterator[Problem]:
    if lock.environment != environment.name:
        yield Problem(CONDA_LOCK, f"is of environment {lock.environment!r}, not of {environment.name!r}")
    if lock.environment_sha256 != environment.content_sha256:
        yield Problem(CONDA_LOCK, f"does not match its environment file; run `reprise lock {environment.name}`")
    if lock.python != environment.python:
        yield Problem(CONDA_LOCK, f"is for Python {lock.python}, the environment for {environment.python}")
    by_conda = lock.conda is not None and bool(lock.conda.site_packages)
    needed, why = (
        (C_LIBRARY, "the C library that conda's packages expect")
        if by_conda
        else (f"python{lock.python}-minimal", "the image's Python")
    )
    if not any(each.kind == "deb" and each.name == needed for each in lock.artifacts):
        yield Problem(DEBIAN_LOCK, f"has no package {needed}, {why}")


def _input_problems(folder: Path, environment_path: Path) -> Iterator[Problem]:
    try:
        expect_current_inputs(folder, environment_path)
    except (InputError, NotFoundError) as error:
        yield Problem(CONDA_LOCK, f"{error.message}; {error.hint}")


def _artifact_problems(lock: Lock, target: Target) -> Iterator[Problem]:
    for purl, count in Counter(each.purl for each in lock.artifacts).items():
        if count > 1:
            yield Problem(purl, f"is in the lock {count} times")
    for (kind, name, category), count in Counter((a.kind, a.name, a.category) for a in lock.artifacts).items():
        if count > 1:
            yield Problem(name, f"is locked as {count} different artifacts ({kind}, {category})")
    for artifact in lock.artifacts:
        for what in (*_purl_problems(artifact), *_fit_problems(artifact, target)):
            yield Problem(artifact.purl, what)


def _purl_problems(artifact: Artifact) -> Iterator[str]:
    try:
        canonical = PackageURL.from_string(artifact.purl).to_string()
        if canonical != artifact.purl:
            yield f"is not a canonical package URL, which is {canonical}"
    except ValueError as error:
        yield f"is not a package URL: {error}"
    in_channel = artifact.kind == "conda"  # conda's own tools need its address there
    if "://" in artifact.purl or ("://" in artifact.location and not in_channel):
        yield "names a host; a lock says what, and never where"
    if artifact.location.startswith("/") or ".." in artifact.location.split("/"):
        yield f"has the location {artifact.location!r}, which is not a path below an archive's root"
    if artifact.category not in ("main", "build"):
        yield f"has category {artifact.category!r}, expected main or build"


def _fit_problems(artifact: Artifact, target: Target) -> Iterator[str]:
    match artifact.kind:
        case "wheel":
            yield from _wheel_problems(artifact, target)
        case "deb":
            if artifact.qualifier("arch") not in ("amd64", "all"):
                yield f"is for architecture {artifact.qualifier('arch')!r}, the image for amd64"
            if not artifact.file_name.endswith(".deb"):
                yield f"has the location {artifact.location!r}, which is no .deb"
        case "conda":
            if artifact.qualifier("subdir") not in SUBDIRS:
                yield f"is for {artifact.qualifier('subdir')!r}, the image for {' and '.join(SUBDIRS)}"
        case "data":
            yield "is neither a wheel, a conda package nor a Debian package"


def _wheel_problems(artifact: Artifact, target: Target) -> Iterator[str]:
    if not artifact.file_name.endswith(".whl"):
        yield f"is {artifact.file_name!r}, not a wheel: installing it would run its own build"
        return
    try:
        name, version, _, tags = parse_wheel_filename(artifact.file_name)
    except ValueError as error:
        yield f"has a malformed file name: {error}"
        return
    if name != canonicalize_name(artifact.name) or str(version) != artifact.version:
        yield f"has the file name of {name} {version}"
    if not tags & target.tags:
        found = ", ".join(sorted(map(str, tags)))
        glibc = ".".join(map(str, target.glibc))
        yield f"does not fit Python {target.python} on x86-64 with glibc {glibc}: its tags are {found}"


def _dependency_problems(folder: Path, lock: Lock) -> Iterator[Problem]:
    """What a package depends on must be in the lock, a wheel's in a version that it accepts."""
    document: Mapping[str, Any] = json.loads((folder / CONDA_LOCK).read_bytes())
    provided: Mapping[str, str] = json.loads(document["metadata"]["custom_metadata"].get("provides", "{}"))
    wheels = {(each.category, each.name): each.version for each in lock.artifacts if each.kind == "wheel"}
    wheels |= {("main", name): version for name, version in provided.items()}
    conda = {each.name for each in lock.artifacts if each.kind == "conda"}
    conda |= {name for name, _ in (lock.conda.virtual if lock.conda else ())}
    for entry in document["package"]:
        for name, specifier in entry.get("dependencies", {}).items():
            found = wheels.get((entry["category"], name))
            if entry["manager"] == "conda":
                if name not in conda:
                    yield Problem(entry["url"], f"depends on {name}, which is not in the lock")
            elif found is None:
                yield Problem(entry["url"], f"depends on {name}, which is not in the lock")
            elif not SpecifierSet(specifier).contains(found, prereleases=True):
                yield Problem(entry["url"], f"depends on {name}{specifier}, locked is {found}")


def plan_problems(lock: Lock) -> Iterator[Problem]:
    """What is wrong with the plan of layers: every artifact of the image is in one layer, with others of its kind."""
    kinds = {each.purl: each.kind for each in lock.artifacts if each.category == "main"}
    uses = Counter(purl for layer in lock.layers for purl in layer.artifacts)
    for purl in kinds.keys() - uses.keys():
        yield Problem(purl, "is in no layer")
    for purl, count in uses.items():
        if purl not in kinds:
            yield Problem(purl, "is in a layer, but not in the lock as part of the image")
        elif count > 1:
            yield Problem(purl, f"is in {count} layers")
    for name, count in Counter(layer.name for layer in lock.layers).items():
        if count > 1 or name in ADDED_LAYERS or not _LAYER_NAME.fullmatch(name):
            yield Problem(f"layer {name!r}", "needs a name of its own: small letters, digits and . _ + - between them")
    for layer in lock.layers:
        if len({kinds[purl] for purl in layer.artifacts if purl in kinds}) != 1:
            yield Problem(f"layer {layer.name!r}", "must hold artifacts of one kind, and at least one")
    if len(lock.layers) + _ADDED > MAX_LAYERS:
        yield Problem("layers", f"{len(lock.layers)} planned and {_ADDED} added ones are more than {MAX_LAYERS}")


def _content_problems(lock: Lock, store: Store) -> Iterator[Problem]:
    present = [each for each in lock.artifacts if each.category == "main" and store.has(each.digest)]
    packages, problems = read_packages(lock, present, store)
    yield from problems
    yield from conda_package_problems(lock, packages)
    readable = [each for each in present if each.kind != "conda" or each.purl in packages]
    for path, owners in find_shared_paths(readable, store, image_layout(lock), packages):
        yield Problem(f"/{path}", f"is owned with different content by {' and by '.join(owners)}")
