"""`reprise sign`: vouch for an image in the store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.options import (
    ImageArgument,
    JsonOption,
    KeyOption,
    PassphraseCommandOption,
    PassphraseDescriptorOption,
    StoreOption,
)

if TYPE_CHECKING:
    from reprise.trust.passphrase import Passphrase
    from reprise.trust.signer import Signer


def command(
    image: ImageArgument,
    store: StoreOption = None,
    key: KeyOption = None,
    keyless: Annotated[
        bool, typer.Option("--keyless", help="Sign by Sigstore as whom an identity token names, not with a key.")
    ] = False,
    identity_token: Annotated[
        Path | None,
        typer.Option("--identity-token", help="File of that token; else CI or your login gives one.", metavar="FILE"),
    ] = None,
    trust_config: Annotated[
        Path | None,
        typer.Option("--trust-config", help="Which Sigstore; by default the public one.", metavar="FILE"),
    ] = None,
    builder: Annotated[
        str | None,
        typer.Option("--builder", help="Who built it, in the provenance; a URI that policies know.", metavar="URI"),
    ] = None,
    repositories: Annotated[
        list[str] | None,
        typer.Option(
            "--repository",
            help="Also sign, with your key, what this repository will hold, as cosign 2, skopeo and podman read it.",
            metavar="HOST/PATH",
        ),
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
    from reprise.cli.output import print_document, print_json
    from reprise.registry.reference import parse_repository
    from reprise.store import Store
    from reprise.trust.keyless_signer import KeylessSigner
    from reprise_trainer.errors import UsageError

    if not keyless and (identity_token or trust_config):
        raise UsageError("--identity-token and --trust-config are for --keyless")
    if keyless and (key or repositories):
        raise UsageError("--keyless excludes --key and --repository: the older kind of signature needs a key")
    places = [parse_repository(each) for each in repositories or ()]
    opened = Store.open(store, create=False)
    digest = opened.resolve(image)
    passphrase = passphrase_source(passphrase_fd, passphrase_command)
    signer = _keyless_signer(identity_token, trust_config) if keyless else _key_signer(key, passphrase)
    name = image if image != digest else "image"
    signed = sign_all(opened, digest, name, signer, builder or LOCAL_BUILDER, places)
    for warning in signed.left_out:
        print(f"warning: {warning}", file=sys.stderr)
    if keyless and isinstance(signer, KeylessSigner) and signer.unlogged:
        print(f"warning: {signer.unlogged} without the log's entry; `reprise witness` adds it", file=sys.stderr)
    document = {"image": digest, "identity" if keyless else "key": signer.identity, **signed.referrers}
    print_json(document) if as_json else print_document(document)


def _key_signer(key: str | None, passphrase: Passphrase) -> Signer:
    from reprise.trust.open_key import open_key, open_note
    from reprise.trust.policy_file import load_or_make_policy
    from reprise.trust.signer import KeySigner

    signer = KeySigner(open_key(key, passphrase))
    if note := open_note(key):
        print(note, file=sys.stderr)
    if key is None:
        load_or_make_policy(signer.key.public_key())
    return signer


def _keyless_signer(identity_token: Path | None, trust_config: Path | None) -> Signer:
    from reprise.trust.keyless_signer import KeylessSigner, ambient_token, read_trust_config, token_from_file

    config = read_trust_config(trust_config)
    if identity_token is not None:
        return KeylessSigner(config, token_from_file(identity_token))
    at_a_desk = sys.stdin.isatty() and sys.stderr.isatty()
    return KeylessSigner(config, lambda: ambient_token(config, at_a_desk=at_a_desk))
