"""`reprise push`: store → registry."""

from __future__ import annotations

from typing import Annotated

import typer

from reprise.cli.options import CertificatesOption, JsonOption, ReferenceArgument, StoreOption


def command(
    image: Annotated[
        str, typer.Argument(help="An image, or another artifact, in the store: its name or digest.", metavar="IMAGE")
    ],
    reference: ReferenceArgument,
    store: StoreOption = None,
    certificates: CertificatesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Push IMAGE with its lock, source, signatures and archive to a registry, and read all of it back.

    What the registry has is not sent again. docker's and podman's logins are used.

    Example: `reprise push torch-cpu registry.example.org/team/torch-cpu:1`
    """
    from reprise.cli.output import print_document, print_json
    from reprise.cli.progress import progress
    from reprise.registry.push import push
    from reprise.registry.reference import parse_reference
    from reprise.store import Store

    where = parse_reference(reference)
    opened = Store.open(store, create=False)
    with progress() as on_event:
        report = push(
            opened, opened.resolve(image), where, certificates=certificates, dry_run=dry_run, on_event=on_event
        )
    document = report.as_json()
    print_json(document) if as_json else print_document(document)
