"""`reprise fetch`: lock → artifacts in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import EnvironmentArgument, JsonOption, ProjectOption, StoreOption, WorkersOption


def command(
    environment: EnvironmentArgument,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    workers: WorkersOption = None,
    export: Annotated[
        Path | None, typer.Option("--export", help="Also put the artifacts here, under their own names.", metavar="DIR")
    ] = None,
    nix: Annotated[
        bool, typer.Option("--nix", help="Also put the artifacts into the Nix store, so that `nix build` fetches none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch the locked artifacts of ENVIRONMENT into the store; those that are there are not fetched again.

    Example: `reprise fetch torch-cpu --export wheels/`, or `reprise fetch torch-cpu --nix`
    """
    from reprise.cli.output import print_json, print_rows
    from reprise.cli.progress import progress
    from reprise.environments import export_artifacts, fetch_environment
    from reprise.project import Project
    from reprise.store import Store

    where, opened = Project.find(project), Store.open(store)
    with progress() as on_event:
        lock, report = fetch_environment(where, environment, opened, workers=workers, on_event=on_event)
    exported = export_artifacts(lock, opened, export) if export else []
    if nix:
        from reprise.nix.add import add_to_nix

        add_to_nix(lock.artifacts, opened)
    document = {"artifacts": len(lock.artifacts), "fetched": len(report.fetched), "bytes": report.bytes}
    if as_json:
        print_json({**document, "exported": [str(path) for path in exported]})
    else:
        print_rows((name, f"{value:,}") for name, value in document.items())
