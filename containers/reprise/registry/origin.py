"""Where a graph of manifests comes from: a repository of a registry, or an OCI layout on disk."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import requests

from reprise.artifacts.sources import Candidate
from reprise.lock.session import open_session
from reprise.registry.manifest import Descriptor, ReadManifest, read_manifest, require_as_said
from reprise.registry.reference import Reference, parse_reference
from reprise.registry.referrers import list_referrers
from reprise.registry.repository import Repository, find_manifest, open_repository
from reprise.store import Store
from reprise.store.platforms import INDEX_TYPES, PlatformImage, choose_image
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError, NotFoundError


class Origin(Protocol):
    """What `bring` needs of a place."""

    @property
    def name(self) -> str:
        """The place, for messages."""

    def root(self) -> ReadManifest:
        """The manifest that was asked for. Raises NotFoundError."""

    def manifest(self, digest: str) -> ReadManifest:
        """A manifest, checked against its digest. Raises NotFoundError."""

    def referrers(self, subject: str) -> tuple[Descriptor, ...]:
        """What points at a manifest."""

    def candidate(self, digest: str) -> Candidate | None:
        """Where a blob's bytes are, if the place can have them."""


def image_of(origin: Origin, wanted: str) -> tuple[ReadManifest, str, str]:
    """What was asked for, or where that is an index its image for a platform; the platform that it was chosen for, and
    the index's digest, both empty where nothing was chosen.

    Args:
        wanted: `os/architecture[/variant]`; empty for this machine's.

    Raises:
        NotFoundError: the place lacks it, or the index has no image for the platform.
        InputError: what the index names is not what it says, or an index again.
    """
    root = origin.root()
    if root.media_type not in INDEX_TYPES:
        return root, "", ""
    chosen = choose_image([PlatformImage(each.digest, each.platform) for each in root.children], wanted, root.digest)
    entry = next(each for each in root.children if each.digest == chosen.digest)
    image = origin.manifest(entry.digest)
    require_as_said(root, entry, image)
    if image.media_type in INDEX_TYPES:
        raise InputError(f"{root.digest} names an index, {image.digest}, as its image for {chosen.platform}")
    return image, chosen.platform, root.digest


@dataclass(frozen=True, slots=True)
class RegistryOrigin:
    """A repository of a registry."""

    reference: Reference
    repository: Repository

    @property
    def name(self) -> str:
        return f"the registry {self.reference.host}"

    def root(self) -> ReadManifest:
        return find_manifest(self.repository, self.reference)

    def manifest(self, digest: str) -> ReadManifest:
        return self.repository.manifest(digest)

    def referrers(self, subject: str) -> tuple[Descriptor, ...]:
        return list_referrers(self.repository, subject)

    def candidate(self, digest: str) -> Candidate:
        return Candidate(self.repository.blob_address(digest), self.repository.registry.session)


@dataclass(frozen=True, slots=True)
class LayoutOrigin:
    """An OCI layout in a folder, as stores are and `skopeo copy` writes; `which` is a tag or a digest in it."""

    layout: Store
    session: requests.Session
    which: str = ""

    @property
    def name(self) -> str:
        return f"the OCI layout {self.layout.root}"

    def root(self) -> ReadManifest:
        if self.which:
            return self.manifest(self.layout.resolve(self.which))
        roots = [each for each in map(self.manifest, self.layout.listed()) if not each.subject]
        if len(roots) != 1:
            raise NotFoundError(
                f"{self.name} holds {len(roots)} images, expected one", hint="Name its tag or digest, too."
            )
        return roots[0]

    def manifest(self, digest: str) -> ReadManifest:
        return read_manifest(self.layout.read(digest), digest)

    def referrers(self, subject: str) -> tuple[Descriptor, ...]:
        return tuple(
            Descriptor(str(each.get("mediaType", "")), each["digest"], self.layout.path(each["digest"]).stat().st_size)
            for each in self.layout.referrers(subject)
        )

    def candidate(self, digest: str) -> Candidate | None:
        return Candidate(self.layout.path(digest).as_uri(), self.session) if self.layout.has(digest) else None


@contextmanager
def open_origin(where: str, scratch: Path, *, which: str = "", certificates: Path | None = None) -> Iterator[Origin]:
    """The place that `where` names.

    Args:
        where: a reference in a registry, or an OCI layout: its folder, or a tar file of it.
        scratch: an existing folder on a disk with room for an unpacked tar file; it is as before afterwards.
        which: tag or digest of an image in a layout; not needed where it holds one image.
        certificates: file of certificate authorities for a registry.

    Raises:
        InputError: it is neither of these.
        StorageError: the tar can't be unpacked.
    """
    path = Path(where)
    if path.is_dir():
        yield _layout(path, which)
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="layout-", dir=scratch) as folder:
            _unpack(path, Path(folder))
            yield _layout(Path(folder), which)
    else:
        try:
            reference = parse_reference(where)
        except InputError as error:
            raise InputError(
                f"{where!r} is neither a folder, nor a file, nor a reference in a registry",
                hint="Name an OCI layout (a folder or a tar file of it), or HOST[:PORT]/PATH[:TAG][@DIGEST].",
            ) from error
        yield RegistryOrigin(reference, open_repository(reference, certificates))


def _layout(folder: Path, which: str) -> LayoutOrigin:
    if not (folder / "oci-layout").is_file() or not (folder / "index.json").is_file():
        raise InputError(f"{folder} is not an OCI layout: it lacks oci-layout or index.json")
    return LayoutOrigin(Store(folder.absolute()), open_session(), which)


def _unpack(path: Path, folder: Path) -> None:
    """Unpack an OCI layout, and nothing outside of `folder` (Python's `data` filter refuses such members)."""
    try:
        with tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise InputError(f"{path} is not a tar file of an OCI layout: {error}") from error
    except OSError as error:
        raise storage_error(error, folder) from error
