"""`reprise key`: the user's own signing key."""

from __future__ import annotations

from reprise.cli.options import JsonOption, KeyOption


def command(key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Print your public key, as a policy takes it; the key is made on first use.

    Example: `reprise key > colleague.pub`
    """
    from reprise.cli.output import print_json
    from reprise.trust.keys import KEY_FILE, home, load_or_make_key
    from reprise_trainer.identity.bundle import key_hint, public_pem

    public = load_or_make_key(key).public_key()
    if as_json:
        print_json(
            {"file": str(key or home() / KEY_FILE), "public_key": public_pem(public), "fingerprint": key_hint(public)}
        )
    else:
        print(public_pem(public), end="")
