"""One repository of a registry: manifests and blobs, by the OCI distribution spec v1.1."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import requests

from reprise.artifacts.headers import header_number
from reprise.registry.connection import RefusedError, Registry, open_registry, read_body
from reprise.registry.manifest import MANIFEST_LIMIT, MANIFEST_TYPES, ReadManifest, read_manifest
from reprise.registry.reference import Reference
from reprise_trainer.canonical import DIGEST_PATTERN, sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError

_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
_LINK_CODES = frozenset({"DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"})
_TAKEN = (200, 201, 202)
"""The spec's answer to a manifest is 201, some registries' another; what they took is read back."""
_LINK_PAUSES = (0.05, 0.2, 0.5)
"""Seconds to wait for another push to have written the link of a blob."""


@dataclass(frozen=True, slots=True)
class Repository:
    """The repository `name` of `registry`."""

    registry: Registry
    name: str

    def path(self, kind: str, which: str) -> str:
        return f"/v2/{self.name}/{kind}/{which}"

    def has_manifest(self, reference: str) -> str:
        """The digest that the registry gives for a tag or digest, by a HEAD request; empty where it has none.

        A registry that does not say the digest of a tag is asked for the manifest itself.
        """
        answer = self.registry.ask("HEAD", self.path("manifests", reference), (200, 404), headers=_ACCEPT)
        if answer.status_code == 404:
            return ""
        if DIGEST_PATTERN.match(reference):
            return reference
        return answer.headers.get("Docker-Content-Digest") or self.manifest(reference).digest

    def manifest(self, reference: str) -> ReadManifest:
        """A manifest by tag or digest, checked against the digest, the media type and the size limit.

        Raises:
            NotFoundError: the registry does not have it.
            InputError: it is too large, malformed, or not what it is said to be.
            DoesNotHoldError: its bytes have another digest than was asked for.
        """
        path = self.path("manifests", reference)
        answer = self.registry.ask("GET", path, (200,), headers=_ACCEPT, stream=True)
        data = read_body(answer, MANIFEST_LIMIT, f"manifest {reference} of {self.name}")
        digest = sha256_digest(data)
        if DIGEST_PATTERN.match(reference) and digest != reference:
            raise DoesNotHoldError(f"{self.registry.host}/{self.name} gave {digest} when asked for {reference}")
        return read_manifest(data, digest, answer.headers.get("Content-Type", "").partition(";")[0].strip())

    def put_manifest(self, data: bytes, media_type: str, reference: str) -> requests.Response:
        """Put a manifest under a tag or its digest, whose blobs the registry has; the registry's answer.

        Raises:
            RefusedError: the registry does not take it, at the last of a few tries where it says that a blob is missing
                or that a digest is malformed: the `distribution` registry says so too while another push of the same
                blob rewrites its link.
        """
        address, headers = self.path("manifests", reference), {"Content-Type": media_type}
        for seconds in _LINK_PAUSES:
            try:
                return self.registry.ask("PUT", address, _TAKEN, headers=headers, data=data)
            except RefusedError as error:
                if not _LINK_CODES.intersection(error.codes):
                    raise
                time.sleep(seconds)
        return self.registry.ask("PUT", address, _TAKEN, headers=headers, data=data)

    def has_blob(self, digest: str, size: int) -> bool:
        """Whether the registry has a blob, by a HEAD request.

        Raises:
            InputError: it says that it has it with another size.
        """
        answer = self.registry.ask("HEAD", self.path("blobs", digest), (200, 404), allow_redirects=True)
        if answer.status_code == 404:
            return False
        said = header_number(answer, "Content-Length")
        if said is not None and said != size:
            raise InputError(f"{self.registry.host}/{self.name} says that {digest} has {said} bytes, not {size}")
        return True

    def small_blob(self, digest: str, limit: int) -> bytes:
        """A blob of at most `limit` bytes, checked against its digest.

        Raises:
            NotFoundError: the registry does not have it.
            InputError: it is longer.
            DoesNotHoldError: its bytes have another digest.
        """
        answer = self.registry.ask("GET", self.path("blobs", digest), (200,), stream=True)
        data = read_body(answer, limit, f"blob {digest} of {self.name}")
        if sha256_digest(data) != digest:
            raise DoesNotHoldError(f"{self.registry.host}/{self.name} gives other bytes for the blob {digest}")
        return data

    def blob_address(self, digest: str) -> str:
        return self.registry.address + self.path("blobs", digest)


def open_repository(reference: Reference, certificates: Path | None = None) -> Repository:
    """The repository that a reference names; nothing is asked yet."""
    registry = open_registry(reference.host, certificates, repository=reference.repository)
    return Repository(registry, reference.repository)


def find_manifest(repository: Repository, reference: Reference) -> ReadManifest:
    """The manifest that a reference names.

    Raises:
        NotFoundError: as `Repository.manifest`, with the whole reference.
    """
    try:
        return repository.manifest(reference.name)
    except NotFoundError as error:
        raise NotFoundError(
            f"{reference} is not in its registry ({error.message})",
            hint="Look for another spelling or tag; `reprise push IMAGE REF` puts an image there.",
        ) from error
