"""An index of several images, one a platform: which it holds, and which of them a machine takes.

Source: OCI image spec v1.1, image-index.md; docker's manifest list has the same shape.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reprise.store.layout import INDEX_TYPE, Store
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import InputError, NotFoundError

DOCKER_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
INDEX_TYPES = (INDEX_TYPE, DOCKER_LIST_TYPE)

_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
"""What Python calls a machine, as Go's GOARCH does, which the spec takes over."""

_DEPTH_LIMIT = 8


@dataclass(frozen=True, slots=True)
class PlatformImage:
    """An image of an index; `platform` is `os/architecture[/variant]`, empty where the index says none."""

    digest: str
    platform: str

    @property
    def label(self) -> str:
        """The platform, else the digest's beginning."""
        return self.platform or self.digest[7:19]


def platform_name(descriptor: Mapping[str, Any]) -> str:
    """The platform that an index's entry says, as `os/architecture[/variant]`; empty where it says none."""
    said = descriptor.get("platform")
    if not isinstance(said, Mapping):
        return ""
    parts = [said.get(key) for key in ("os", "architecture", "variant")]
    return "/".join(part for part in parts if isinstance(part, str) and part)


def host_platform() -> str:
    """This machine's platform; images hold Linux programs, whatever the machine's own system."""
    machine = platform.machine().lower()
    return f"linux/{_GO_NAMES.get(machine, machine)}"


def is_index(store: Store, digest: str) -> bool:
    """Whether a manifest of the store is an index of images.

    Raises:
        NotFoundError, InputError: as `Store.manifest`.
    """
    document = store.manifest(digest)
    kind = document.get("mediaType")
    return kind in INDEX_TYPES or (
        kind is None and "manifests" in document and not {"config", "layers"} & set(document)
    )


def images_of(store: Store, digest: str) -> tuple[PlatformImage, ...]:
    """The images of an index in the store, those of indexes in it among them; none where it is an image itself.

    Raises:
        NotFoundError: the store lacks a manifest of it.
        InputError: it is malformed, or has too many levels.
    """
    if not is_index(store, digest):
        return ()
    images = [part for part, is_image in _parts(store, digest, 0) if is_image]
    return tuple({each.digest: each for each in images}.values())


def parts_of(store: Store, digest: str) -> tuple[str, ...]:
    """The digests of all that an index in the store names: images, and the indexes in it with theirs; none of an image.

    Raises:
        NotFoundError, InputError: as `images_of`.
    """
    if not is_index(store, digest):
        return ()
    return tuple(dict.fromkeys(part.digest for part, _ in _parts(store, digest, 0)))


def image_for(store: Store, digest: str, wanted: str = "") -> PlatformImage:
    """The image that a machine takes: the manifest itself (chosen for no platform), or of an index the one for a
    platform, by default its own.

    Raises:
        NotFoundError: the index has none for it.
    """
    if not is_index(store, digest):
        return PlatformImage(digest, "")
    return choose_image(images_of(store, digest), wanted, digest)


def choose_image(images: Sequence[PlatformImage], wanted: str, index: str) -> PlatformImage:
    """The image for a platform (`os/architecture[/variant]`; empty: this machine's).

    One without a variant goes before those with one, which ask for more of the machine.

    Raises:
        NotFoundError: there is none, or it is not clear which.
    """
    wanted = wanted or host_platform()
    exact = [each for each in images if each.platform == wanted]
    fitting = exact or [each for each in images if each.platform.startswith(f"{wanted}/")]
    if len({each.digest for each in fitting}) == 1:
        return fitting[0]
    there = ", ".join(f"{each.platform or 'no platform'} {each.digest}" for each in images[:8]) or "nothing"
    what = "no image" if not fitting else f"{len(fitting)} images"
    raise NotFoundError(
        f"the index {index} has {what} for {wanted}; it has {there}",
        hint="Name one by --platform where there is that option, or by its digest.",
    )


def _parts(store: Store, index: str, depth: int) -> Iterator[tuple[PlatformImage, bool]]:
    """What an index names, and whether each is an image; another index goes before what that names."""
    if depth > _DEPTH_LIMIT:
        raise InputError(f"{index} has more than {_DEPTH_LIMIT} levels of indexes")
    entries = store.manifest(index).get("manifests")
    if not isinstance(entries, list):
        raise InputError(f"the index {index} lists no manifests")
    for entry in entries:
        digest = entry.get("digest") if isinstance(entry, dict) else None
        if not isinstance(digest, str) or not DIGEST_PATTERN.match(digest):
            raise InputError(f"the index {index} has an entry without a sha256 digest")
        nested = is_index(store, digest)
        yield PlatformImage(digest, platform_name(entry)), not nested
        if nested:
            yield from _parts(store, digest, depth + 1)
