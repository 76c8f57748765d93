"""`reprise key`: the user's own signing key."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reprise.cli.options import JsonOption, KeyOption, PassphraseCommandOption, PassphraseDescriptorOption


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
    from reprise.cli.output import print_json
    from reprise.trust import keys
    from reprise.trust.passphrase import new_from_prompt
    from reprise_trainer.errors import InputError
    from reprise_trainer.identity.bundle import key_hint, public_pem

    if encrypt and change:
        raise InputError("--encrypt and --change-passphrase exclude each other")
    path = key or keys.home() / keys.KEY_FILE
    old = passphrase_source(passphrase_fd, passphrase_command)
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
    if as_json:
        rows = {"file": str(path), "public_key": public_pem(public), "fingerprint": key_hint(public)}
        print_json({**rows, "encrypted": encrypted})
    else:
        print(public_pem(public), end="")
