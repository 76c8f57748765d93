"""`reprise prune`: unpacked images that nothing needs → free space."""

from __future__ import annotations

from typing import Annotated

import typer

from reprise.cli.options import JsonOption, StoreOption


def command(
    store: StoreOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed; remove nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove unpacked images and layers that no tag, no pull by digest, no run record and no running run refers to.

    Images themselves stay in the store, and are unpacked again when one is run.

    Example: `reprise prune --dry-run`
    """
    from reprise.cli.output import print_json, print_rows
    from reprise.prune import prune
    from reprise.store import Store

    pruned = prune(Store.open(store, create=False), dry_run=dry_run)
    if as_json:
        print_json(pruned.as_json())
        return
    what = "would remove" if dry_run else "removed"
    print_rows((f"{what} {each.kind}", each.digest) for each in pruned.removed)
    print_rows((f"in use {each.kind}", each.digest) for each in pruned.in_use)
    print(f"{pruned.bytes / 1e6:,.1f} MB {'would be ' if dry_run else ''}freed")
