"""The user's signing key: one P-256 key in one file that only its owner can read, encrypted by a passphrase or not."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

import platformdirs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust.encrypted_pem import encrypted_pem
from reprise.trust.passphrase import Passphrase, refuse
from reprise_trainer.durable import storage_error, sync_folder, write_durably
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


def load_or_make_key(path: Path | None = None, passphrase: Passphrase = refuse) -> ec.EllipticCurvePrivateKey:
    """The signing key at `path` (default: in `home()`), made on first use, not encrypted.

    Two processes that come first at once end with the same key: the file appears whole, by a link that fails when
    another was faster.

    Args:
        path: the key's file.
        passphrase: asked where the key is encrypted.

    Raises:
        InputError: the file is not a P-256 key, others may read it, or the passphrase does not open it.
        StorageError: it cannot be written.
    """
    path = path or home() / KEY_FILE
    if not path.exists():
        _make_key_file(path, private_pem(make_key()))
    return load_key(path, passphrase)


def load_key(path: Path, passphrase: Passphrase = refuse) -> ec.EllipticCurvePrivateKey:
    """The signing key at `path`.

    Args:
        path: the key's file.
        passphrase: asked where the key is encrypted.

    Raises:
        NotFoundError: there is no such file, or it cannot be read.
        InputError: it is not a P-256 key in PEM (PKCS #8 or SEC 1), others may read it, or the passphrase is wrong.
    """
    data = _read_private(path)
    if not _is_encrypted(data, path):
        return _parse(data, None, path)
    return _parse(data, passphrase(f"the signing key {path}"), path)


def is_encrypted(path: Path) -> bool:
    """Whether a passphrase protects the key at `path`.

    Raises:
        NotFoundError, InputError: as `load_key`.
    """
    return _is_encrypted(_read_private(path), path)


def unencrypted_note(path: Path) -> str:
    """What is said of a key without a passphrase."""
    return f"note: the signing key {path} has no passphrase: whoever reads the file can sign (`reprise key --encrypt`)"


def encrypt_key(path: Path, new: Passphrase) -> ec.EllipticCurvePrivateKey:
    """Protect the key at `path` by a passphrase; where there is none, make one that never lies there without.

    The blocks that held the key before may stay readable on the disk: a key that matters is encrypted when it is made.

    Raises:
        InputError: it is encrypted already, or no key; or another process made one meanwhile.
        StorageError: it cannot be written; the file is as it was.
    """
    if not path.exists():
        key = make_key()
        if not _make_key_file(path, encrypted_pem(key, new(f"the new signing key {path}"))):
            raise InputError(
                f"the signing key {path} was made meanwhile by another process; nothing was changed",
                hint="The same command, run again, says what is there now.",
            )
        return key
    if is_encrypted(path):
        raise InputError(f"the signing key {path} is encrypted already", hint="--change-passphrase gives it another.")
    key = load_key(path)
    write_durably(path.resolve(), encrypted_pem(key, new(f"the signing key {path}")), mode=0o600)
    return key


def change_passphrase(path: Path, old: Passphrase, new: Passphrase) -> ec.EllipticCurvePrivateKey:
    """Protect the encrypted key at `path` by another passphrase.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is not encrypted, or `old` does not open it.
        StorageError: it cannot be written; the file is as it was.
    """
    if not is_encrypted(path):
        raise InputError(f"the signing key {path} is not encrypted", hint="--encrypt gives it a passphrase.")
    key = load_key(path, old)
    write_durably(path.resolve(), encrypted_pem(key, new(f"the signing key {path}")), mode=0o600)
    return key


def _read_private(path: Path) -> bytes:
    """The bytes of a file that nobody but its owner can use."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(65536)
    except OSError as error:
        raise NotFoundError(f"cannot read the signing key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise InputError(
            f"the signing key {path} can be used by others (mode {mode:04o}, expected 0600)",
            hint=f"If nobody else has read it: chmod 600 {path}; else make a new key and replace it in your policies.",
        )
    return data


def _is_encrypted(data: bytes, path: Path) -> bool:
    try:
        serialization.load_pem_private_key(data, password=None)
    except TypeError:  # what `cryptography` raises where a password is missing
        return True
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not a PEM private key: {error}") from error
    return False


def _parse(data: bytes, passphrase: bytes | None, path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"the passphrase does not open the signing key {path} (or the file is damaged)") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError(f"the key in {path} is not an ECDSA key on P-256")
    return key


def _make_key_file(path: Path, data: bytes) -> bool:
    """Make a key's file whole or not at all; false where another process made it first, whose key is the one."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(aside)
        except FileExistsError:
            return False
        finally:
            aside.unlink(missing_ok=True)
        sync_folder(path.parent)
        return True
    except OSError as error:
        raise storage_error(error, path) from error
