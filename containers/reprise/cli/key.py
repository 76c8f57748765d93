"""`reprise key`: the user's own signing key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.options import JsonOption, KeyOption, PassphraseCommandOption, PassphraseDescriptorOption

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey


def command(
    key: KeyOption = None,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Protect the key by a passphrase; without a key, make one that is.")
    ] = False,
    change: Annotated[bool, typer.Option("--change-passphrase", help="Give the encrypted key another one.")] = False,
    passphrase_fd: PassphraseDescriptorOption = None,
    passphrase_command: PassphraseCommandOption = None,
    new_passphrase_fd: Annotated[
        int | None,
        typer.Option("--new-passphrase-fd", help="As --passphrase-fd, for the new passphrase.", metavar="N"),
    ] = None,
    new_passphrase_command: Annotated[
        str | None,
        typer.Option("--new-passphrase-command", help="As --passphrase-command, for the new one.", metavar="COMMAND"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print your public key, as a policy takes it; the key is made on first use, without a passphrase.

    A passphrase is asked for at the terminal, or read from a descriptor or a command; the new one of --encrypt and
    --change-passphrase, too.

    Example: `reprise key --encrypt`
    """
    from reprise.cli.options import passphrase_source
    from reprise.trust import keys
    from reprise.trust.held_keys import is_held
    from reprise.trust.open_key import open_key, refuse_unknown_scheme
    from reprise.trust.passphrase import new_from_prompt
    from reprise_trainer.errors import UsageError

    if encrypt and change:
        raise UsageError("--encrypt and --change-passphrase exclude each other")
    old = passphrase_source(passphrase_fd, passphrase_command)
    if key is not None and is_held(key):
        if encrypt or change:
            raise UsageError(f"--encrypt and --change-passphrase are for a key in a file; {key} is held elsewhere")
        _show(open_key(key, old).public_key(), {"held": key}, as_json)
        return
    if key is not None:
        refuse_unknown_scheme(key)
    path = Path(key) if key else keys.home() / keys.KEY_FILE
    new = passphrase_source(new_passphrase_fd, new_passphrase_command, otherwise=new_from_prompt)
    if encrypt:
        public = keys.encrypt_key(path, new).public_key()
    elif change:
        public = keys.change_passphrase(path, old, new).public_key()
    else:
        public = keys.load_or_make_key(path, old).public_key()
    encrypted = keys.is_encrypted(path)
    if not encrypted:
        print(keys.unencrypted_note(path), file=sys.stderr)
    _show(public, {"file": str(path), "encrypted": encrypted}, as_json)


def _show(public: EllipticCurvePublicKey, where: dict[str, str | bool], as_json: bool) -> None:
    from reprise.cli.output import print_json
    from reprise_trainer.identity.bundle import key_hint, public_pem

    if as_json:
        print_json({**where, "public_key": public_pem(public), "fingerprint": key_hint(public)})
    else:
        print(public_pem(public), end="")
