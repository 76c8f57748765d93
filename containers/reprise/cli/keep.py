"""`reprise keep`: a run's checkpoint → the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import JsonOption, StoreOption


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of a checkpoint, or of a run for its newest.", metavar="CHECKPOINT")
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put CHECKPOINT into the store as an artifact, with its run's record; its digest is a name to start from.

    `[start] checkpoint = "sha256:…"` starts a run from it; `reprise push` and `pull` carry it to another store.

    Example: `reprise keep runs/base`
    """
    from reprise.checkpoints import keep_checkpoint
    from reprise.cli.output import print_document, print_json
    from reprise.store import Store

    document = keep_checkpoint(checkpoint, Store.open(store)).as_json()
    print_json(document) if as_json else print_document(document)
