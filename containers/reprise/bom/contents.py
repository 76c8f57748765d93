"""Each package of an image with its licences and what it depends on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reprise.bom.licences import Licences, conda_licences, debian_licences, wheel_licences
from reprise.bom.metadata import DebianMetadata, conda_metadata, debian_metadata, wheel_metadata
from reprise.lock.model import CONDA_LOCK, Artifact, Environment, Lock
from reprise.store import Store
from reprise_trainer.errors import NotFoundError

_RELATION = re.compile(r"\s*(?P<name>[a-z0-9][a-z0-9+.-]+)")
"""The package that one alternative of a Debian relation names, before architecture and version (policy 7.1)."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of an image: `depends` are the purls of the packages that it needs, sorted."""

    artifact: Artifact
    licences: Licences
    depends: tuple[str, ...]


def installed(lock: Lock) -> list[Artifact]:
    """The artifacts that lie in the image, in the lock's order; what only the builder uses is not among them."""
    planned = {purl for layer in lock.layers for purl in layer.artifacts}
    return [artifact for artifact in lock.artifacts if artifact.purl in planned]


def read_packages(lock: Lock, files: Mapping[str, bytes], store: Store) -> list[Package]:
    """The packages of the image of `lock`, sorted by purl.

    Args:
        lock: the lock, and in `files` the files that it was read from, by name.
        store: holds the artifacts.

    Raises:
        NotFoundError: the store lacks an artifact.
        InputError: an artifact cannot be read.
    """
    artifacts = installed(lock)
    absent = [artifact.purl for artifact in artifacts if not store.has(artifact.digest)]
    if absent:
        raise NotFoundError(
            f"{len(absent)} artifacts of the lock of {lock.environment} are not in the store, {absent[0]} first: "
            "licences are read from them",
            hint=f"Fetch them with: reprise fetch {lock.environment}",
        )
    debian = {
        each.purl: debian_metadata(store.path(each.digest), each.purl) for each in artifacts if each.kind == "deb"
    }
    depends = {**_locked_dependencies(artifacts, files[CONDA_LOCK]), **_debian_dependencies(debian)}
    return [
        Package(each, _licences(each, store, debian), tuple(sorted(depends[each.purl])))
        for each in sorted(artifacts, key=lambda artifact: artifact.purl)
    ]


def requested(environment: Environment, packages: Iterable[Package]) -> tuple[str, ...]:
    """The purls of the packages that the environment asks for by name, sorted; the rest is there for their sake."""
    python = {_canonical(text) for text in environment.pypi.requirements}
    conda = {_canonical(text) for text in (environment.conda.packages if environment.conda else ())}
    wanted = {"deb": set(environment.debian.packages), "wheel": python, "conda": conda}
    named = {each.artifact.purl for each in packages if each.artifact.name in wanted.get(each.artifact.kind, set())}
    needed = {purl for package in packages for purl in package.depends}
    nobody = {each.artifact.purl for each in packages} - needed
    return tuple(sorted(named | nobody))


def _licences(artifact: Artifact, store: Store, debian: Mapping[str, DebianMetadata]) -> Licences:
    path = store.path(artifact.digest)
    match artifact.kind:
        case "wheel":
            return wheel_licences(wheel_metadata(path, artifact.purl))
        case "conda":
            return conda_licences(conda_metadata(path, artifact.purl))
        case "deb":
            own = debian[artifact.purl]
            shared = (each for each in debian.values() if each.fields["Package"] == own.copyright_of)
            return debian_licences(next(shared, own).copyright)
        case "data":
            return Licences()


def _locked_dependencies(artifacts: Iterable[Artifact], conda_lock: bytes) -> dict[str, set[str]]:
    """`dependencies` of conda-lock.yml as purls. A name that is not locked (a virtual package) is left out."""
    by_hash = {each.sha256: each.purl for each in artifacts if each.kind != "deb"}
    entries = [each for each in json.loads(conda_lock)["package"] if each["hash"].get("sha256") in by_hash]
    purls: dict[tuple[str, str], str] = {}
    for entry in entries:
        purls[entry["manager"], entry["name"]] = by_hash[entry["hash"]["sha256"]]
    found: dict[str, set[str]] = {purl: set() for purl in by_hash.values()}
    for entry in entries:
        managers = (entry["manager"], "conda" if entry["manager"] == "pip" else "pip")
        for name in entry["dependencies"]:
            purl = next((purls[manager, name] for manager in managers if (manager, name) in purls), None)
            if purl is not None:
                found[by_hash[entry["hash"]["sha256"]]].add(purl)
    return found


def _debian_dependencies(debian: Mapping[str, DebianMetadata]) -> dict[str, set[str]]:
    """Depends and Pre-Depends as purls: of each relation the first alternative that is in the image.

    A relation that nothing in the image meets is one that `assume` in the environment file takes as given.
    """
    providers: dict[str, str] = {}
    for purl, each in debian.items():
        for name in _names(each.fields.get("Provides", "").replace(",", "|")):
            providers.setdefault(name, purl)
    providers |= {each.fields["Package"]: purl for purl, each in debian.items()}
    found: dict[str, set[str]] = {}
    for purl, each in debian.items():
        relations = [each.fields.get(field, "") for field in ("Depends", "Pre-Depends")]
        met = (
            next((providers[name] for name in _names(relation) if name in providers), None)
            for relation in ",".join(relations).split(",")
        )
        found[purl] = {other for other in met if other is not None and other != purl}
    return found


def _names(alternatives: str) -> list[str]:
    return [match["name"] for each in alternatives.split("|") if (match := _RELATION.match(each))]


def _canonical(requirement: str) -> str:
    """The project's name in a requirement (PEP 508) or a match spec, normalised (PEP 503)."""
    name = re.match(r"[A-Za-z0-9._-]*[A-Za-z0-9]", requirement.rpartition("::")[2].strip())
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else ""
