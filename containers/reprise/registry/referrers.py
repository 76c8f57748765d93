"""Which manifests of a repository point at another: the referrers API, or the index under the fallback tag.

Source: OCI distribution spec v1.1, "Listing Referrers" and "Pushing Manifests with Subject".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urljoin

import requests

from reprise.registry.connection import read_body
from reprise.registry.manifest import MANIFEST_LIMIT, Descriptor, ReadManifest, read_descriptors
from reprise.registry.repository import Repository
from reprise.registry.shared_tag import change_shared_tag
from reprise.store.layout import INDEX_TYPE
from reprise.store.platforms import INDEX_TYPES
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError, NotFoundError

_PAGES = 64


def fallback_tag(subject: str) -> str:
    """The tag under which registries without the API list what points at `subject`."""
    return subject.replace(":", "-")


def list_referrers(repository: Repository, subject: str) -> tuple[Descriptor, ...]:
    """What points at the manifest `subject`: from the API where the registry has it, else from the fallback index.

    What a descriptor says of its kind is not to be trusted (sigstore/cosign#4641): open the manifest.

    Raises:
        InputError: a list is malformed or has no end.
    """
    found: dict[str, Descriptor] = {}
    path = repository.path("referrers", subject)
    for _ in range(_PAGES):
        answer = repository.registry.ask(
            "GET", path, (200, 400, 404, 405, 406, 501), headers={"Accept": INDEX_TYPE}, stream=True
        )
        body = read_body(answer, MANIFEST_LIMIT, f"the list of what points at {subject}")
        if not _is_list(answer):
            return _in_fallback(repository, subject)
        found |= {each.digest: each for each in read_descriptors(body, f"the list of what points at {subject}")}
        following = requests.utils.parse_header_links(answer.headers.get("Link", ""))
        onward = next((link["url"] for link in following if link.get("rel") == "next"), "")
        if not onward:
            return tuple(found.values())
        path = urljoin(answer.url, onward)
        if not repository.registry.is_own(path):
            raise InputError(f"the registry {repository.registry.host} lists what points at {subject} on another host")
    raise InputError(f"the list of what points at {subject} has more than {_PAGES} pages")


def are_listed(repository: Repository, subject: str, referrers: Mapping[str, ReadManifest], *, new: bool) -> bool:
    """Whether the registry lists `referrers` (by digest), which it has as manifests.

    Where none of them is `new`, HEAD requests suffice if the fallback index is as we alone would write it, or if the
    API answers to HEAD; else the list is read.
    """
    if new:
        return referrers.keys() <= {each.digest for each in list_referrers(repository, subject)}
    tag = fallback_tag(subject)
    present = repository.has_manifest(tag)
    if present and present == sha256_digest(_fallback_index([], referrers.values())):
        return True
    if not present:
        answer = repository.registry.ask("HEAD", repository.path("referrers", subject), range(200, 600))
        if _is_list(answer):
            return True  # the API lists each manifest that has a subject, and these are there
    return referrers.keys() <= {each.digest for each in list_referrers(repository, subject)}


def list_in_fallback(repository: Repository, subject: str, referrers: Mapping[str, ReadManifest]) -> None:
    """Make the fallback index of `subject` list `referrers` beside what it lists already, and read it back.

    Raises:
        UnavailableError: other writers undo it again and again.
        InputError: the tag leads to something that is no index: not ours to replace (distribution spec).
    """

    tag = fallback_tag(subject)

    def change(found: ReadManifest | None) -> tuple[bytes, str] | None:
        entries = _entries(found, tag)
        if referrers.keys() <= {each.get("digest") for each in entries}:
            return None
        return _fallback_index(entries, referrers.values()), INDEX_TYPE

    change_shared_tag(repository, tag, change)


def _is_list(answer: requests.Response) -> bool:
    """Whether the API answers, and not a page for people, which some registries show wherever they have none."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return answer.status_code == 200 and kind == INDEX_TYPE


def _in_fallback(repository: Repository, subject: str) -> tuple[Descriptor, ...]:
    try:
        index = repository.manifest(fallback_tag(subject))
    except NotFoundError:
        return ()
    return index.children


def _entries(index: ReadManifest | None, tag: str) -> list[dict[str, Any]]:
    """The entries of a fallback index as they are, other writers' fields too."""
    if index is None:
        return []
    if index.media_type not in INDEX_TYPES:
        raise InputError(
            f"{index.digest} is no index, where a list of referrers belongs",
            hint=f"Delete the tag {tag} in the registry: it is no such list.",
        )
    return list(json.loads(index.data)["manifests"])


def _fallback_index(entries: Iterable[Mapping[str, Any]], referrers: Iterable[ReadManifest]) -> bytes:
    """An index with `entries` as they are and, sorted by digest, those of `referrers` that are not among them."""
    kept = list(entries)
    known = {each.get("digest") for each in kept}
    added = [_entry(each) for each in sorted(referrers, key=lambda each: each.digest) if each.digest not in known]
    return canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*kept, *added]})


def _entry(manifest: ReadManifest) -> dict[str, Any]:
    entry: dict[str, Any] = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.data)}
    if manifest.artifact_type:
        entry["artifactType"] = manifest.artifact_type
    if manifest.annotations:
        entry["annotations"] = manifest.annotations
    return entry
