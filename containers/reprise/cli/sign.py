"""`reprise sign`: vouch for an image in the store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reprise.cli.options import (
    JsonOption,
    KeyOption,
    PassphraseCommandOption,
    PassphraseDescriptorOption,
    StoreOption,
)


def command(
    image: Annotated[str, typer.Argument(help="Environment name or digest of an image in the store.")],
    store: StoreOption = None,
    key: KeyOption = None,
    builder: Annotated[
        str | None,
        typer.Option("--builder", help="Who built it, in the provenance; a URI that policies know.", metavar="URI"),
    ] = None,
    passphrase_fd: PassphraseDescriptorOption = None,
    passphrase_command: PassphraseCommandOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign IMAGE, its provenance (SLSA) and its bill of materials; all lie beside it in the store, as cosign's do.

    The provenance needs the image's lock, the bill of materials its artifacts, too; what can't be made is left out, and
    that is said.

    Your key is made on first use, and beside it a policy that trusts it, which other commands use by default.

    Example: `reprise sign torch-cpu`
    """
    from reprise.bom.provenance import LOCAL_BUILDER
    from reprise.bom.sign_all import sign_all
    from reprise.cli.options import passphrase_source
    from reprise.cli.output import print_json, print_rows
    from reprise.store import Store
    from reprise.trust.keys import KEY_FILE, home, is_encrypted, load_or_make_key, unencrypted_note
    from reprise.trust.policy_file import load_or_make_policy
    from reprise.trust.signer import KeySigner

    opened = Store.open(store, create=False)
    digest = opened.resolve(image)
    path = key or home() / KEY_FILE
    signer = KeySigner(load_or_make_key(path, passphrase_source(passphrase_fd, passphrase_command)))
    if not is_encrypted(path):
        print(unencrypted_note(path), file=sys.stderr)
    if key is None:
        load_or_make_policy(signer.key.public_key())
    signed = sign_all(opened, digest, image if image != digest else "image", signer, builder or LOCAL_BUILDER)
    for warning in signed.left_out:
        print(f"warning: {warning}", file=sys.stderr)
    document = {"image": digest, "key": signer.identity, **signed.referrers}
    print_json(document) if as_json else print_rows(document.items())
