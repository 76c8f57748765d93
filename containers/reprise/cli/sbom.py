"""`reprise sbom`: what an image is made of, as CycloneDX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import ImageArgument, JsonOption, StoreOption


def command(
    image: ImageArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the document here instead of to stdout.", metavar="FILE"),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the bill of materials of IMAGE (CycloneDX 1.6, JSON), and keep it beside the image in the store.

    The same image gives the same bytes on every machine. `reprise sign` signs it. With --json and --output, stdout
    says what was written.

    Example: `reprise sbom torch-cpu -o torch-cpu.cdx.json`
    """
    from reprise.bom.attest import bill_of_materials, keep_bill
    from reprise.cli.output import print_document, print_json
    from reprise.store import Store
    from reprise_trainer.canonical import sha256_digest
    from reprise_trainer.durable import write_durably

    opened = Store.open(store, create=False)
    digest = opened.resolve(image)
    document = bill_of_materials(opened, digest)
    referrer = keep_bill(opened, digest, document)
    if output is None:
        print(document.decode())
        return
    write_durably(output, document)
    rows = {"image": digest, "file": str(output), "digest": sha256_digest(document), "referrer": referrer}
    print_json(rows) if as_json else print_document(rows)
