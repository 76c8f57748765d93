"""What a manifest or an index says, read without trust: descriptors of its parts, and limits on all of it.

Source: OCI image spec v1.1 (manifest.md, image-index.md, descriptor.md); docker's schema 2 has the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from reprise.store import layout
from reprise.store.layout import INDEX_TYPE
from reprise.store.platforms import DOCKER_LIST_TYPE, INDEX_TYPES, platform_name
from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import InputError
from reprise_trainer.identity.inventory import MANIFEST_TYPE
from reprise_trainer.identity.strict_json import parse_json

DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_TYPES = (MANIFEST_TYPE, INDEX_TYPE, DOCKER_MANIFEST_TYPE, DOCKER_LIST_TYPE)

MANIFEST_LIMIT = layout.MANIFEST_LIMIT

_BLOB_LIMIT = 1 << 40
_PARTS_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to content: what it is, its digest, its size in bytes."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    title: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """A manifest's bytes and what they say: `blobs` (config first), `children` (of an index), `subject`'s digest."""

    digest: str
    data: bytes
    media_type: str
    artifact_type: str = ""
    annotations: dict[str, str] = field(default_factory=dict)
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: str = ""


def read_manifest(data: bytes, digest: str, media_type: str = "") -> ReadManifest:
    """Read a manifest whose bytes are known to have `digest`.

    Args:
        media_type: what it is said to be, by whoever gave it; empty when only its own word is there.

    Raises:
        InputError: it is not one of the four kinds, is malformed, too large, or calls itself something else.
    """
    what = f"manifest {digest}"
    document = parse_json(data, what, size_limit=MANIFEST_LIMIT)
    if not isinstance(document, dict):
        raise InputError(f"{what} is not a JSON object")
    own = document.get("mediaType") or media_type
    if own not in MANIFEST_TYPES:
        raise InputError(f"{what} has media type {own!r}; expected one of {', '.join(MANIFEST_TYPES)}")
    if media_type and media_type != own:
        raise InputError(f"{what} came as {media_type!r}, but calls itself {own!r}")
    parts: dict[str, Any] = (
        {"children": _descriptors(document.get("manifests"), what)}
        if own in INDEX_TYPES
        else {"blobs": _descriptors([document.get("config"), *_list(document.get("layers"), what)], what)}
    )
    subject = document.get("subject")
    return ReadManifest(
        digest,
        data,
        str(own),
        artifact_type=_text(document, "artifactType"),
        annotations=_annotations(document),
        subject=_descriptor(subject, what).digest if subject is not None else "",
        **parts,
    )


def require_as_said(index: ReadManifest, entry: Descriptor, found: ReadManifest) -> None:
    """Raises InputError where an index says another size or kind of a manifest than it has."""
    if (len(found.data), found.media_type) != (entry.size, entry.media_type or found.media_type):
        raise InputError(
            f"{index.digest} says that {entry.digest} is {entry.size} bytes of {entry.media_type!r}, "
            f"but it is {len(found.data)} bytes of {found.media_type!r}"
        )


def read_descriptors(data: bytes, what: str) -> tuple[Descriptor, ...]:
    """The `manifests` of an index that lists referrers.

    Raises:
        InputError: it is malformed.
    """
    document = parse_json(data, what, size_limit=MANIFEST_LIMIT, half_pairs=True)
    if not isinstance(document, dict):
        raise InputError(f"{what} is not a JSON object")
    return _descriptors(document.get("manifests") or [], what)


def _descriptors(value: object, what: str) -> tuple[Descriptor, ...]:
    return tuple(_descriptor(each, what) for each in _list(value, what))


def _descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise InputError(f"{what}: {str(value)[:80]!r} is not a descriptor")
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not DIGEST_PATTERN.match(digest):
        raise InputError(f"{what} points at {str(digest)[:100]!r}, which is not a sha256 digest")
    if type(size) is not int or not 0 <= size <= _BLOB_LIMIT:
        raise InputError(f"{what} says that {digest} has {str(size)[:40]} bytes; expected 0 to {_BLOB_LIMIT}")
    title = _annotations(value).get("org.opencontainers.image.title", "")
    return Descriptor(
        _text(value, "mediaType"), digest, size, _text(value, "artifactType"), title, platform_name(value)
    )


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list) or len(value) > _PARTS_LIMIT:
        raise InputError(f"{what} has no list of at most {_PARTS_LIMIT} parts where one belongs")
    return value


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    notes = document.get("annotations")
    return (
        {str(key): value for key, value in notes.items() if isinstance(value, str)} if isinstance(notes, dict) else {}
    )
