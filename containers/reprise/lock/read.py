"""Read a lock's files, with the standard library alone (it is quick to import)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprise.image.formats import image_format
from reprise.lock.conda_address import conda_purl
from reprise.lock.environment import read_environment
from reprise.lock.model import (
    CONDA_LOCK,
    DEBIAN_LOCK,
    FORMAT,
    LAYER_PLAN,
    Allowed,
    Artifact,
    Lock,
    LockedConda,
    PlannedLayer,
)
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError, NotFoundError

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def read_lock(folder: Path, environment: Path | None = None) -> Lock:
    """The lock in `folder`.

    Args:
        folder: `locks/<environment>/`.
        environment: the environment's TOML; when given, the lock must have been made from its content.

    Raises:
        NotFoundError: a file of the lock is not there.
        InputError: a file is malformed, or the lock does not match its environment file.
    """
    data = {name: _read(folder / name) for name in (CONDA_LOCK, DEBIAN_LOCK, LAYER_PLAN)}
    conda, debian, plan = (_document(folder / name, text) for name, text in data.items())
    try:
        _expect_format(folder / CONDA_LOCK, conda["version"])
        _expect_format(folder / DEBIAN_LOCK, debian["format"])
        _expect_format(folder / LAYER_PLAN, plan["format"])
        metadata = conda["metadata"]
        (platform,) = metadata["platforms"]
        content = metadata["content_hash"][platform]
        files = {name: hashlib.sha256(text).hexdigest() for name, text in data.items()}
        lock = Lock(
            environment=metadata["custom_metadata"]["environment"],
            platform=platform,
            python=metadata["custom_metadata"]["python"],
            created=int(debian["created"]),
            artifacts=(*map(_deb, debian["packages"]), *map(_conda_lock_entry, conda["package"])),
            layers=tuple(PlannedLayer(each["name"], tuple(each["artifacts"])) for each in plan["layers"]),
            environment_sha256=content,
            digest=sha256_digest(canonical_json({**files, "environment.toml": content})),
            conda=_locked_conda(metadata["custom_metadata"]),
            format=image_format(int(metadata["custom_metadata"].get("format", "1")), f"the lock {folder}").number,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder} is not a lock: {type(error).__name__} {error}", hint=_relock(folder.name)
        ) from error
    for artifact in lock.artifacts:
        _expect_artifact(folder, artifact)
    if environment is not None and read_environment(environment).content_sha256 != content:
        raise InputError(f"lock {folder} does not match its environment file {environment}", hint=_relock(folder.name))
    return lock


def _relock(name: str) -> str:
    return f"run `reprise lock {name}`"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist", hint=_relock(path.parent.name)) from error


def _document(path: Path, text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}", hint=_relock(path.parent.name)) from error
    if not isinstance(document, dict):
        raise InputError(f"{path} holds no JSON object", hint=_relock(path.parent.name))
    return document


def _expect_format(path: Path, number: object) -> None:
    if number != FORMAT:
        raise InputError(f"{path} has format {number!r}, this version reads format {FORMAT}")


def _expect_artifact(folder: Path, artifact: Artifact) -> None:
    if not artifact.purl.startswith("pkg:"):
        raise InputError(f"{folder}: {artifact.purl!r} is not a package URL")
    if not _SHA256.match(artifact.sha256):
        raise InputError(f"{folder}: {artifact.purl} has no sha256 (found {artifact.sha256!r})")


def _deb(entry: Mapping[str, Any]) -> Artifact:
    return Artifact(entry["purl"], entry["sha256"], "main", entry["path"], int(entry["size"]))


def _conda_lock_entry(entry: Mapping[str, Any]) -> Artifact:
    sha256 = entry["hash"].get("sha256") or ""
    if entry["manager"] == "conda":
        return Artifact(conda_purl(entry["url"]), sha256, entry["category"], entry["url"])
    return Artifact(entry["url"], sha256, entry["category"])


def _locked_conda(custom: Mapping[str, str]) -> LockedConda | None:
    if "prefix" not in custom:
        return None
    allowed = json.loads(custom.get("allow", "{}"))
    return LockedConda(
        custom["prefix"],
        custom.get("site_packages", ""),
        tuple(sorted(json.loads(custom.get("virtual_packages", "{}")).items())),
        Allowed(tuple(allowed.get("post_link", ())), tuple(sorted(allowed.get("clobbers", {}).items()))),
    )
