"""`reprise sign`: vouch for an image in the store."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reprise.cli.options import JsonOption, KeyOption, StoreOption


def command(
    image: Annotated[str, typer.Argument(help="Environment name or digest of an image in the store.")],
    store: StoreOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign IMAGE and its bill of materials with your key; both lie beside it in the store, as cosign's bundles do.

    The bill of materials needs the image's lock and artifacts; without them it is left out, and that is said.

    Your key is made on first use, and beside it a policy that trusts it, which other commands use by default.

    Example: `reprise sign torch-cpu`
    """
    from reprise.bom.attest import attest_bill
    from reprise.cli.output import print_json, print_rows
    from reprise.store import Store
    from reprise.trust.keys import load_or_make_key
    from reprise.trust.policy_file import load_or_make_policy
    from reprise.trust.sign import sign_image
    from reprise_trainer.errors import InputError, NotFoundError
    from reprise_trainer.identity.bundle import key_hint

    opened = Store.open(store, create=False)
    digest = opened.resolve(image)
    signing_key = load_or_make_key(key)
    if key is None:
        load_or_make_policy(signing_key.public_key())
    signature = sign_image(opened, digest, image if image != digest else "image", signing_key)
    document = {"image": digest, "signature": signature, "key": key_hint(signing_key.public_key())}
    try:
        document["bill_of_materials"] = attest_bill(opened, digest, signing_key)
    except (NotFoundError, InputError) as error:  # the image's signature stands without it
        print(f"warning: no bill of materials was signed: {error}", file=sys.stderr)
    print_json(document) if as_json else print_rows(document.items())
