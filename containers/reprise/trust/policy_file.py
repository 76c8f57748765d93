"""Policy files: the user's own, written on first use, and others by path."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust.keys import home
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import NotFoundError
from reprise_trainer.identity.bundle import public_pem
from reprise_trainer.identity.policy import SIZE_LIMIT, Policy, PolicyKey, read_policy, write_policy

POLICY_FILE = "policy.toml"
OWN_KEY = "own"


def own_policy(key: ec.EllipticCurvePublicKey) -> Policy:
    """The policy that asks for an image signature by this key."""
    return Policy((PolicyKey(OWN_KEY, public_pem(key)),))


def load_policy(path: Path) -> Policy:
    """The policy in a file.

    Raises:
        NotFoundError: there is no such file, or it cannot be read.
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
    return read_policy(data, where=str(path))


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
