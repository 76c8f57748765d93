"""`reprise load`: a bundle → the store, without any network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import JsonOption, StoreOption


def command(
    bundle: Annotated[Path, typer.Argument(help="A file that `reprise bundle` wrote.", metavar="FILE")],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", help="Load only what this policy accepts; judged before a layer is read.", metavar="FILE"
        ),
    ] = None,
    save_policy: Annotated[
        Path | None,
        typer.Option(
            "--save-policy", help="New file for the bundle's own policy; compare its keys first.", metavar="FILE"
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Where its image was pulled from: your word for it, judged and remembered as a pull's is.",
            metavar="REF",
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put the image of a bundle, with all that refers to it, into the store; every digest is checked while it is read.

    A policy that comes with an image proves nothing about it: `--save-policy` writes it and prints its keys'
    fingerprints, to compare with those that you got by another way (`reprise key --json` prints one's own).

    A policy that allows some repositories alone needs `--as`: a bundle says where its image came from, and proves it by
    nothing.

    Example: `reprise load torch-cpu.tar --policy policy.toml`
    """
    from reprise.bundle.accept import load_accepted
    from reprise.bundle.read import load_bundle
    from reprise.cli.output import print_document, print_json, print_rows
    from reprise.cli.progress import progress
    from reprise.registry.reference import parse_reference
    from reprise.store import Store
    from reprise.trust.policy_file import load_policy, save_new_policy
    from reprise_trainer.errors import NotFoundError, UsageError
    from reprise_trainer.identity.bundle import key_hint
    from reprise_trainer.identity.policy import Policy

    rules = load_policy(policy) if policy else None
    word = parse_reference(reference) if reference else None
    if word and rules is None:
        raise UsageError("--as names what a policy judges; without --policy nothing is judged, and nothing remembered")
    opened = Store.open(store)
    with progress() as on_event:
        if rules is not None:
            loaded = load_accepted(bundle, opened, rules, reference=word, on_event=on_event)
        else:
            loaded = load_bundle(bundle, opened, on_event=on_event)
    saved: Policy | None = None
    if save_policy:
        if loaded.policy is None:
            raise NotFoundError(f"the bundle {bundle} holds no policy")
        saved = save_new_policy(loaded.policy, save_policy, loaded.trusted_root)
    keys = {name: key_hint(public) for name, public in saved.delegating_keys().items()} if saved else {}
    document = {**loaded.as_json(), "judged": rules is not None, "policy_keys": keys}
    document |= {"reference": str(word)} if word else {}
    document |= {"policy_trusted_root": saved.trusted_root} if saved and saved.trusted_root else {}
    if as_json:
        print_json(document)
        return
    print_document(document, without=["policy_keys"])
    print_rows((f"key {name}", fingerprint) for name, fingerprint in keys.items())
