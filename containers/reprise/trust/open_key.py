"""The signing key that a person names: a PEM file, or one that a token or service holds."""

from __future__ import annotations

from pathlib import Path

from reprise.trust.keys import KEY_FILE, home, is_encrypted, load_or_make_key, unencrypted_note
from reprise.trust.passphrase import Passphrase
from reprise_trainer.identity.bundle import SigningKey


def open_key(named: str | None, passphrase: Passphrase) -> SigningKey:
    """The key, made on first use where it is a file.

    Args:
        named: a file, or a reference such as `pkcs11:…`; by default the user's own file.
        passphrase: asked for that of an encrypted file, or for a token's PIN.

    Raises:
        InputError, NotFoundError, StorageError, SystemFailureError, UnavailableError: as `load_or_make_key` and
            `open_held_key`.
    """
    from reprise.trust.held_keys import is_held, open_held_key

    if named is not None and is_held(named):
        return open_held_key(named, passphrase)
    return load_or_make_key(Path(named) if named else home() / KEY_FILE, passphrase)


def open_note(named: str | None) -> str:
    """What has to be said of the key that `open_key` gave; empty where nothing."""
    from reprise.trust.held_keys import is_held

    if named is not None and is_held(named):
        return ""
    path = Path(named) if named else home() / KEY_FILE
    return "" if is_encrypted(path) else unencrypted_note(path)
