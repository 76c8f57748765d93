"""The formats of an environment and of its lock, as plain frozen values.

Dataclasses, not pydantic models: reading a lock is on the path of a build that has nothing to do, which must end
within half a second, and importing pydantic alone takes a fifth of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote

FORMAT = 1
"""Number of the lock's own documents (debian.lock.json, layers.json); conda-lock.yml has conda-lock's."""

CONDA_LOCK = "conda-lock.yml"
DEBIAN_LOCK = "debian.lock.json"
LAYER_PLAN = "layers.json"
CONDA_SPEC = "environment.yml"

PLATFORM = "linux-64"
"""conda's name of the one platform there is: Linux on x86-64."""

Kind = Literal["wheel", "deb", "data"]
_KINDS: dict[str, Kind] = {"pypi": "wheel", "deb": "deb"}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One locked file: its package URL (purl) and its sha256 (64 hex digits).

    `category` is "main" for what goes into the image and "build" for what only the builder uses. `location` is a hint
    where a mirror keeps the file (a Debian package's pool path); it never names a host. `size` is in bytes, 0 where
    the lock does not know it (conda-lock's schema has no place for it).
    """

    purl: str
    sha256: str
    category: str = "main"
    location: str = ""
    size: int = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha256}"

    @property
    def kind(self) -> Kind:
        """What the file is, by the purl's type: a wheel, a Debian package, or data."""
        return _KINDS.get(self.purl.removeprefix("pkg:").partition("/")[0], "data")

    @property
    def name(self) -> str:
        return unquote(self._path().rpartition("@")[0].rpartition("/")[2])

    @property
    def version(self) -> str:
        return unquote(self._path().rpartition("@")[2])

    @property
    def file_name(self) -> str:
        """The file's own name: the purl's `file_name` where it has one, else the last part of the pool path."""
        return self.qualifier("file_name") or self.location.rpartition("/")[2]

    def qualifier(self, key: str) -> str:
        """The value of a qualifier of the purl (`arch`, `distro`, `file_name`); empty where it has none."""
        return parse_qs(self.purl.partition("?")[2]).get(key, [""])[0]

    def _path(self) -> str:
        return self.purl.partition("?")[0].partition("#")[0]


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """One layer of the image: the purls of the artifacts that it is made of, all of one kind."""

    name: str
    artifacts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lock:
    """The exact content of an environment.

    `platform` is conda's name for it, `python` the image's Python as "3.11", `created` the Debian suite's release
    date in seconds since 1970, `layers` in order, lowest first. `environment_sha256` is the `content_sha256` of the
    environment file that the lock was made from. `digest` names all of this.
    """

    environment: str
    platform: str
    python: str
    created: int
    artifacts: tuple[Artifact, ...]
    layers: tuple[PlannedLayer, ...]
    environment_sha256: str
    digest: str

    def artifact(self, purl: str) -> Artifact:
        """The artifact named `purl`.

        Raises:
            KeyError: the lock has none of that name.
        """
        for artifact in self.artifacts:
            if artifact.purl == purl:
                return artifact
        raise KeyError(purl)


@dataclass(frozen=True, slots=True)
class DebianPart:
    """The Debian packages that a person asks for.

    `assume` names packages that the resolver takes as installed: those that only maintainer scripts need, which an
    image of unpacked packages never runs.
    """

    suite: str
    packages: tuple[str, ...]
    assume: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PythonPart:
    """The Python packages that a person asks for (PEP 508), as wheels; `build` ones serve the builder alone."""

    requirements: tuple[str, ...]
    build: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sources:
    """Where bytes may come from when neither the store nor the machine's own clients have them.

    `find_links` are addresses of HTML pages or folders of wheels, `debian_mirror` is a Debian archive's address (or
    empty), `directories` are folders that hold files by their own names. Paths are absolute; in the TOML they are
    relative to its folder.
    """

    find_links: tuple[str, ...] = ()
    debian_mirror: str = ""
    directories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """What an image holds, as a person wrote it in `containers/images/<name>.toml`.

    `content_sha256` is over all but `[sources]` and comments: where bytes come from does not change what they are.
    """

    name: str
    python: str
    platform: str
    debian: DebianPart
    pypi: PythonPart
    sources: Sources
    content_sha256: str
