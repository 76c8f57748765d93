"""`reprise pull`: registry → store."""

from __future__ import annotations

from typing import Annotated

import typer

from reprise.cli.options import CertificatesOption, JsonOption, PlatformOption, ReferenceArgument, StoreOption


def command(
    reference: ReferenceArgument,
    store: StoreOption = None,
    tag: Annotated[
        str | None, typer.Option("--tag", help="Name for it in the store; by default the reference.", metavar="NAME")
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive/--no-archive", help="Also fetch the archive, which only a rebuild needs.")
    ] = True,
    platform: PlatformOption = None,
    unpack: Annotated[
        bool, typer.Option("--unpack", help="Also unpack the image, so that its first run starts at once.")
    ] = False,
    certificates: CertificatesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pull an image with its lock, source, signatures and archive into the store; what is there is not fetched again.

    An interrupted pull goes on where it stopped. Of an index all images come, or with --platform one, under the name.
    Nothing is trusted yet: `reprise verify` says whether it may be used.

    Example: `reprise pull registry.example.org/team/torch-cpu:1`
    """
    from contextlib import nullcontext

    from reprise.archive import ARCHIVE_TYPE
    from reprise.cli.output import print_document, print_json
    from reprise.cli.progress import progress
    from reprise.engine.arriving import unpacked_on_arrival
    from reprise.engine.interface import ImageRef
    from reprise.engine.unpack import unpack_layers
    from reprise.registry.pull import NOBODY, pull
    from reprise.registry.reference import parse_reference
    from reprise.store import Store
    from reprise_trainer.printable import printable

    where, opened = parse_reference(reference), Store.open(store)
    with progress() as on_event:
        with unpacked_on_arrival(opened, on_event) if unpack else nullcontext(NOBODY) as arrival:
            report = pull(
                where,
                opened,
                tag=tag,
                leave_out=() if archive else (ARCHIVE_TYPE,),
                platform=platform,
                certificates=certificates,
                on_event=on_event,
                arrival=arrival,
            )
        if unpack:
            unpack_layers(opened, ImageRef(opened, report.digest).layers(), on_event=on_event)
    document = report.as_json()
    if as_json:
        print_json(document)
        return
    print_document(document, without=["skipped"])
    for each in report.skipped:
        print(f"left out  {printable(each)}")
