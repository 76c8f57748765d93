"""The strict check of a lock's conda part: what a package's file holds must fit the lock, its prefix and its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from packageurl import PackageURL

from reprise.image.base import base_entries
from reprise.image.conda import CondaPackage, read_conda
from reprise.image.conda_scripts import activate, before_activation
from reprise.image.format import PythonLayout
from reprise.lock.layout import image_layout
from reprise.lock.model import Artifact, Lock, LockedConda
from reprise.lock.problem import Problem
from reprise.store import Store
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError

SUBDIRS = ("linux-64", "noarch")

_MOUNTED = ("data", "dev", "output", "proc", "run", "sys", "tmp")
"""Top folders that something else is mounted over."""


def read_packages(
    lock: Lock, artifacts: Sequence[Artifact], store: Store
) -> tuple[dict[str, CondaPackage], list[Problem]]:
    """Those of `artifacts` that are conda packages, by purl, and what is wrong with those that can't be read.

    Raises:
        StorageError: the store's disk is full; large packages are unpacked there for a while.
    """
    layout, winners = image_layout(lock), dict(lock.conda.allowed.clobbers) if lock.conda else {}
    packages: dict[str, CondaPackage] = {}
    problems = []
    for artifact in artifacts:
        if artifact.kind == "conda":
            try:
                packages[artifact.purl] = _read(artifact, store, layout, winners)
            except InputError as error:
                problems.append(Problem(artifact.purl, error.message.removeprefix(f"{artifact.purl} ")))
    return packages, problems


def _read(artifact: Artifact, store: Store, layout: PythonLayout, winners: Mapping[str, str]) -> CondaPackage:
    spool = store.root / "partial"
    try:
        spool.mkdir(exist_ok=True)
        return read_conda(store.path(artifact.digest), artifact.purl, layout, winners=winners, spool=spool)
    except OSError as error:
        raise storage_error(error, spool) from error


def conda_lock_problems(lock: Lock) -> Iterator[Problem]:
    """What is wrong with the conda part as the lock says it, without opening a package."""
    packages = [each for each in lock.artifacts if each.kind == "conda"]
    if lock.conda is None:
        for each in packages:
            yield Problem(each.purl, "is a conda package, and the lock does not say where its environment lies")
        return
    yield from _prefix_problems(lock.conda.prefix)
    pythons = [each for each in packages if each.name == "python"]
    if bool(pythons) != bool(lock.conda.site_packages):
        what = "is there, and no site-packages folder" if pythons else "is not there, and its site-packages folder is"
        yield Problem("conda package python", what)
    for python in pythons:
        if not python.version.startswith(f"{lock.python}."):
            yield Problem(python.purl, f"is Python {python.version}, the environment's is {lock.python}")
    yield from _allowed_problems(lock.conda, {each.name for each in packages})


def _prefix_problems(prefix: str) -> Iterator[Problem]:
    links = {each.path for each in base_entries() if each.type == "symlink"}
    top = prefix.strip("/").partition("/")[0]
    if top in _MOUNTED or top in links or not top:
        yield Problem(f"prefix {prefix}", "is no place for an environment: engines mount over it, or it is a link")


def _allowed_problems(conda: LockedConda, names: set[str]) -> Iterator[Problem]:
    for name in conda.allowed.post_link:
        if name not in names:
            yield Problem(f"allow.post_link {name!r}", "names no conda package of the lock")
    for path, name in conda.allowed.clobbers:
        if name not in names:
            yield Problem(f"allow.clobbers {path!r}", f"names {name!r}, which is no conda package of the lock")


def conda_package_problems(lock: Lock, packages: Mapping[str, CondaPackage]) -> Iterator[Problem]:
    """What is wrong with packages that could be read: not what the lock says, scripts, prefixes left over."""
    if lock.conda is None:
        return
    purls = {package.name: purl for purl, package in packages.items()}
    for purl, package in packages.items():
        yield from _identity_problems(purl, package, lock)
        for path, placeholder in package.leftovers():
            yield Problem(purl, f"still has the prefix that it was built with in /{path}: {placeholder}")
    scripts = [script for package in packages.values() for script in package.scripts]
    _, refused = activate(scripts, before_activation(lock.conda.prefix))
    for script, why in refused:
        if script.package not in lock.conda.allowed.post_link:
            yield Problem(purls[script.package], f"{script.path} {why}")
    for path, name in lock.conda.allowed.clobbers:
        if name in purls and f"{lock.conda.prefix.strip('/')}/{path}" not in packages[purls[name]].paths:
            yield Problem(f"allow.clobbers {path!r}", f"says that {name} wins, which has no such file")


def _identity_problems(purl: str, package: CondaPackage, lock: Lock) -> Iterator[Problem]:
    assert lock.conda is not None
    url = PackageURL.from_string(purl)
    qualifiers = dict(url.qualifiers) if isinstance(url.qualifiers, Mapping) else {}
    said = (url.name, url.version or "", qualifiers.get("build", ""))
    if package.identity != said:
        yield Problem(purl, f"is {' '.join(package.identity)} by its own index.json")
    if package.name == "python":
        usual = f"lib/python{lock.python}/site-packages"
        found = package.site_packages or usual
        if found != lock.conda.site_packages:
            yield Problem(purl, f"looks for packages in {found}, the lock says {lock.conda.site_packages}")
