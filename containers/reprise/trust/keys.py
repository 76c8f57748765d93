"""The user's signing key: one P-256 key in one file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import platformdirs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.durable import storage_error, sync_folder
from reprise_trainer.errors import InputError, NotFoundError

KEY_FILE = "signing-key.pem"


def home() -> Path:
    """Where the user's key and policy are: `$REPRISE_HOME`, else the user's configuration folder for reprise."""
    named = os.environ.get("REPRISE_HOME")
    return Path(named) if named else Path(platformdirs.user_config_dir("reprise"))


def make_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key, from the system's randomness; also for the key of one run."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PEM bytes (PKCS #8, not encrypted) of a private key."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_or_make_key(path: Path | None = None) -> ec.EllipticCurvePrivateKey:
    """The signing key at `path` (default: in `home()`), made on first use.

    Two processes that come first at once end with the same key: the file appears whole, by a link that fails when
    another was faster.

    Raises:
        InputError: the file is not a P-256 key, or others may read it.
        StorageError: it cannot be written.
    """
    path = path or home() / KEY_FILE
    if not path.exists():
        _make_key_file(path)
    return load_key(path)


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The signing key at `path`.

    Raises:
        NotFoundError: there is no such file, or it cannot be read.
        InputError: it is not a P-256 key in PEM (PKCS #8 or SEC 1, not encrypted), or others may read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(65536)
    except OSError as error:
        raise NotFoundError(f"cannot read the signing key {path}: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InputError(
            f"the signing key {path} can be used by others (mode {stat.S_IMODE(mode):04o}, expected 0600)",
            hint=f"If nobody else has read it: chmod 600 {path}; else make a new key and replace it in your policies.",
        )
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not an unencrypted PEM private key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError(f"the key in {path} is not an ECDSA key on P-256")
    return key


def _make_key_file(path: Path) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(private_pem(make_key()))
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(aside)
        except FileExistsError:
            pass  # another process made it first; its key is the one
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
