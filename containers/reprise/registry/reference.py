"""References to images in registries: `host[:port]/path[:tag][@digest]`.

Source: the grammar of the `reference` package of distribution (docker's). One difference: the host must be written,
since no registry is a default here. Docker's hub has two names, and keeps its own images under `library/`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import InputError

DEFAULT_TAG = "latest"

_HUB = "docker.io"
_HUBS_OLDER_NAME = "index.docker.io"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?\Z")
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"\w[\w.-]{0,127}\Z", re.ASCII)
_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository of a registry, and in it a tag, a digest, both or neither (then the tag is "latest")."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"

    @property
    def name(self) -> str:
        """What a registry is asked for: the digest where there is one, since a tag may move."""
        return self.digest or self.tag or DEFAULT_TAG

    def at(self, digest: str) -> Reference:
        """This repository's manifest `digest`, whatever its tag."""
        return replace(self, tag="", digest=digest)


def parse_reference(text: str) -> Reference:
    """The reference that a person wrote.

    Raises:
        InputError: it has no host, or a part is not of the form that registries take.
    """
    rest, at, digest = text.partition("@")
    if at and not DIGEST_PATTERN.match(digest):
        raise _wrong(text, f"{digest!r} is not a digest (sha256: and 64 hex digits)")
    host, slash, path = rest.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        raise _wrong(text, "it names no registry")
    if not _HOST.match(host):
        raise _wrong(text, f"{host!r} is not a host")
    repository, colon, tag = path.partition(":")
    if host in (_HUB, _HUBS_OLDER_NAME):
        host, repository = _HUB, repository if "/" in repository else f"library/{repository}"
    if not _REPOSITORY.match(repository) or len(host) + len(repository) > _LONGEST:
        raise _wrong(
            text, f"{repository!r} is not a repository's name (lower-case letters, digits, '.', '_', '-', '/')"
        )
    if colon and not _TAG.match(tag):
        raise _wrong(text, f"{tag!r} is not a tag")
    return Reference(host, repository, tag, digest)


def parse_repository(text: str) -> str:
    """The repository (`host[:port]/path`) that a person wrote, without a tag or digest.

    Raises:
        InputError: it is none.
    """
    reference = parse_reference(text)
    if reference.tag or reference.digest:
        raise InputError(f"{text!r} names an image; a repository is written without tag and digest")
    return str(reference)


def stored_name(reference: Reference) -> str:
    """What the store calls what was pulled: the reference, where it has a tag or no digest; else nothing."""
    if reference.digest and not reference.tag:
        return ""
    return f"{reference.host}/{reference.repository}:{reference.tag or reference.name}"


def source_name(reference: Reference, digest: str) -> str:
    """How the store remembers where `digest` was pulled from, for policies that allow some repositories alone."""
    return stored_name(reference) or str(reference.at(digest))


def looks_like_reference(text: str) -> bool:
    """Whether `text` can be parsed as a reference."""
    try:
        parse_reference(text)
    except InputError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host (with or without a port) is this machine itself, by its name or number."""
    name = host.rpartition(":")[0] if re.search(r":\d+\Z", host) else host
    name = name.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _wrong(text: str, why: str) -> InputError:
    return InputError(
        f"{text!r} is not a reference: {why}",
        hint="Write it as HOST[:PORT]/PATH[:TAG][@DIGEST], such as registry.example.org/team/torch-cpu:1.",
    )
