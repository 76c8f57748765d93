"""Policy files: the user's own, written on first use, and others by path."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust.keys import home
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.identity.bundle import public_pem
from reprise_trainer.identity.policy import SIZE_LIMIT, Policy, PolicyKey, read_policy, write_policy

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot

POLICY_FILE = "policy.toml"
ROOT_FILE = "trusted_root.json"
"""What is looked for beside a policy that pins a trusted root."""
ROOT_LIMIT = 16 << 20
"""Bytes of it that are read; the public instance's has 7 kB."""
OWN_KEY = "own"


def own_policy(key: ec.EllipticCurvePublicKey) -> Policy:
    """The policy that asks for an image signature by this key."""
    return Policy((PolicyKey(OWN_KEY, public_pem(key)),))


def with_launcher(policy: Policy, name: str, key: ec.EllipticCurvePublicKey) -> Policy:
    """A policy that accepts delegations by `key` too, and no image for its signature: under `name`, with a number where
    that is taken; as it is if it does already."""
    if any(known == key for known in policy.delegating_keys().values()):
        return policy
    taken = {each.name for each in (*policy.keys, *policy.launchers)}
    names = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    launcher = PolicyKey(next(each for each in names if each not in taken), public_pem(key))
    return replace(policy, launchers=(*policy.launchers, launcher))


def load_policy(path: Path, trusted_root: Path | None = None) -> Policy:
    """The policy in a file, with its trusted root.

    Args:
        path: the policy.
        trusted_root: the file that the policy pins; by default `trusted_root.json` beside the policy, if it is there.
            Whether it is the pinned one is the judge's to say.

    Raises:
        NotFoundError: the policy, or the trusted root that is named, cannot be read.
        InputError: it is not a policy.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise NotFoundError(
            f"cannot read the policy {path}: {error.strerror}",
            hint="`reprise sign` writes one that trusts your own key; --policy names another.",
        ) from error
    policy = read_policy(data, where=str(path))
    return replace(policy, root=_read_root(path, trusted_root)) if policy.trusted_root else policy


def _read_root(policy: Path, named: Path | None) -> bytes:
    path = named or policy.with_name(ROOT_FILE)
    try:
        with path.open("rb") as file:
            return file.read(ROOT_LIMIT)
    except FileNotFoundError:
        if named is None:
            return b""
        raise NotFoundError(f"there is no trusted root {path}") from None
    except OSError as error:
        raise NotFoundError(f"cannot read the trusted root {path}: {error.strerror}") from error


def save_new_policy(data: bytes, path: Path, root: bytes | None = None) -> Policy:
    """Write a policy that came from elsewhere to a file that does not exist yet; the policy.

    Args:
        root: the trusted root that came along, written beside the policy where that pins it.

    Raises:
        InputError: it is not a policy, or the file exists: a policy is never replaced by one that came along.
        StorageError: it cannot be written.
    """
    policy = read_policy(data, where="the policy in the bundle")
    beside = path.with_name(ROOT_FILE)
    pinned = root if root is not None and sha256_digest(root) == policy.trusted_root else None
    for each in (path, beside):
        if each.exists() and (each == path or (pinned is not None and each.read_bytes() != pinned)):
            raise InputError(f"{each} exists, and is not replaced", hint="Name a new file, and compare the two.")
    if pinned is not None:
        write_durably(beside, pinned)
    write_durably(path, data)
    return policy


def save_trusted_root(root: TrustedRoot, path: Path) -> str:
    """Write a trusted root as canonical JSON, so that whoever fetches the same one gets the same bytes; its digest.

    Raises:
        InputError: another file is there; it is not replaced, since a policy may pin it.
        StorageError: it cannot be written.
    """
    data = canonical_json(json.loads(root._inner.to_json()))
    if path.exists() and path.read_bytes() != data:
        raise InputError(f"{path} exists, and is not replaced", hint="Name a new file, and compare the two.")
    write_durably(path, data)
    return sha256_digest(data)


def load_or_make_policy(key: ec.EllipticCurvePublicKey, path: Path | None = None) -> Policy:
    """The policy at `path` (default: in `home()`); on first use one is written that trusts `key` alone.

    Raises:
        InputError: the file is not a policy.
        StorageError: it cannot be written.
    """
    path = path or home() / POLICY_FILE
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise storage_error(error, path) from error
        write_durably(path, write_policy(own_policy(key)).encode())
    return load_policy(path)
