"""The signing key that a person names: a PEM file, or one that a token or service holds."""

from __future__ import annotations

import re
from pathlib import Path

from reprise.trust.keys import KEY_FILE, home, is_encrypted, load_key, load_or_make_key, unencrypted_note
from reprise.trust.passphrase import Passphrase
from reprise_trainer.errors import NotFoundError, UsageError
from reprise_trainer.identity.bundle import SigningKey


def open_key(named: str | None, passphrase: Passphrase) -> SigningKey:
    """The key that is named, or the user's own, which is made on first use.

    Args:
        named: a file, or a reference such as `pkcs11:…`; must exist, since a key that appears out of a misspelt name
            would sign as somebody whom nobody trusts. By default the user's own file.
        passphrase: asked for that of an encrypted file, or for a token's PIN.

    Raises:
        NotFoundError: there is no such file.
        UsageError: a reference of a kind that is not known.
        InputError, StorageError, SystemFailureError, UnavailableError: as `load_or_make_key` and `open_held_key`.
    """
    from reprise.trust.held_keys import is_held, open_held_key

    if named is None:
        return load_or_make_key(home() / KEY_FILE, passphrase)
    if is_held(named):
        return open_held_key(named, passphrase)
    refuse_unknown_scheme(named)
    try:
        return load_key(Path(named), passphrase)
    except NotFoundError as error:
        raise NotFoundError(error.message, hint=f"`reprise key --key {named}` makes one.") from error


def refuse_unknown_scheme(named: str) -> None:
    """Raises UsageError where a key's name looks like a reference and is none that is known."""
    from reprise.trust.held_keys import SCHEMES

    if re.match(r"[a-z][a-z0-9+.-]*:", named) and not Path(named).exists():
        known = ", ".join(f"{scheme}:" for scheme in SCHEMES)
        raise UsageError(f"{named} is no reference to a key: those begin with {known}", hint="A file is ./NAME.")


def open_note(named: str | None) -> str:
    """What has to be said of the key that `open_key` gave; empty where nothing."""
    from reprise.trust.held_keys import is_held

    if named is not None and is_held(named):
        return ""
    path = Path(named) if named else home() / KEY_FILE
    return "" if is_encrypted(path) else unencrypted_note(path)
