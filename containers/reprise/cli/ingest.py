"""`reprise ingest`: a configuration's data → a snapshot in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import JsonOption, ProjectOption, StoreOption


def command(
    config: Annotated[Path, typer.Argument(help="A run's configuration (TOML); its [data] counts.", metavar="CONFIG")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything, say what would be made, and keep no snapshot.")
    ] = False,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the snapshot that CONFIG's `[data]` describes; `reprise train` does the same before it starts.

    Bad rows, equal records and leakage between splits are refused, each with file and row, unless `[data]` allows them.

    Example: `reprise ingest run.toml --dry-run`
    """
    from reprise.cli.output import print_json, print_rows
    from reprise.cli.progress import progress
    from reprise.ingest_data import ingest
    from reprise.project import Project
    from reprise.store import Store

    with progress() as on_event:
        made = ingest(config, Store.open(store), Project.find(project), keep=not dry_run, on_event=on_event)
    if as_json:
        print_json(made.as_json())
    else:
        print_rows(made.rows())
