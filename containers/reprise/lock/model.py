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

DEFAULT_PREFIX = "/opt/conda"
"""Where a conda environment lies in an image unless its environment file says otherwise."""

Kind = Literal["wheel", "deb", "conda", "data"]
_KINDS: dict[str, Kind] = {"pypi": "wheel", "deb": "deb", "conda": "conda"}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One locked file: its package URL (purl) and its sha256 (64 hex digits).

    `category` is "main" for what goes into the image and "build" for what only the builder uses. `location` is a hint
    where a mirror keeps the file: a Debian package's pool path, which names no host, or a conda package's address in
    its channel, which conda's tools need. `size` is in bytes, 0 where the lock does not know it (conda-lock's schema
    has no place for it).
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
        """What the file is, by the purl's type: a wheel, a Debian package, a conda package, or data."""
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
class Allowed:
    """Exceptions from the strict check that a person wrote down.

    `post_link` names conda packages that are installed although they have a link script, which never runs.
    `clobbers` are pairs (path below the prefix, conda package): where several own the path, that package's file wins.
    """

    post_link: tuple[str, ...] = ()
    clobbers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LockedConda:
    """What a conda part's layers depend on beside its packages.

    `prefix` is where the environment lies in the image ("/opt/conda"). `site_packages` is relative to it and comes from
    the record of the locked python package; it is empty where conda brings no Python, and then the image's Python is
    Debian's. `virtual` are the virtual packages that the solver took as given, as pairs (`__glibc`, "2.36").
    """

    prefix: str
    site_packages: str = ""
    virtual: tuple[tuple[str, str], ...] = ()
    allowed: Allowed = Allowed()


@dataclass(frozen=True, slots=True)
class Lock:
    """The exact content of an environment.

    `platform` is conda's name for it, `python` the image's Python as "3.11", `created` the Debian suite's release
    date in seconds since 1970, `layers` in order, lowest first. `environment_sha256` is the `content_sha256` of the
    environment file that the lock was made from. `digest` names all of this. `conda` is set where the lock has a conda
    part. `format` is the number of the image format that the image is built in.
    """

    environment: str
    platform: str
    python: str
    created: int
    artifacts: tuple[Artifact, ...]
    layers: tuple[PlannedLayer, ...]
    environment_sha256: str
    digest: str
    conda: LockedConda | None = None
    format: int = 1

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
class CondaPart:
    """The conda packages that a person asks for: `packages` (match specs) of `channels`, or what a file says.

    `specification` is the path of a conda `environment.yml`, `lock` that of a conda-lock file that somebody else's
    tools wrote and that is taken as it is; both are empty where the TOML itself names packages. `categories` of such a
    file are taken beside main. `virtual` are the virtual packages that the solver takes as given, as pairs (`__glibc`,
    "2.36").
    """

    channels: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    specification: str = ""
    lock: str = ""
    virtual: tuple[tuple[str, str], ...] = ()
    prefix: str = DEFAULT_PREFIX
    allowed: Allowed = Allowed()
    categories: tuple[str, ...] = ()


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
    `format` is the image format's number, for old images.
    """

    name: str
    python: str
    platform: str
    debian: DebianPart
    pypi: PythonPart
    sources: Sources
    content_sha256: str
    conda: CondaPart | None = None
    format: int = 1
