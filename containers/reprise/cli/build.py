"""`reprise build`: lock → image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprise.cli.options import EnvironmentArgument, JsonOption, ProjectOption, StoreOption, WorkersOption

if TYPE_CHECKING:
    from reprise.build import BuiltImage


def command(
    environment: EnvironmentArgument,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    workers: WorkersOption = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Ask neither pip, nor apt, nor the network: the store, and --from, is all."),
    ] = False,
    archive: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="With --offline: where an archive is: an OCI layout (folder or tar file), or a registry's reference.",
            metavar="PLACE",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched and built; write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Build the image of ENVIRONMENT from its lock, fetching what is missing.

    Example: `reprise build torch-cpu --json`, or `reprise build torch-cpu --offline --from archive.tar`
    """
    from reprise.cli.output import print_document, print_json, print_rows
    from reprise.cli.progress import progress
    from reprise.environments import build_environment, plan_build
    from reprise.project import Project
    from reprise.registry.archived import archived_places
    from reprise.store import Store
    from reprise.store.layout import default_root
    from reprise_trainer.errors import UsageError

    where = Project.find(project)
    if dry_run:
        plan = plan_build(where, environment, Store(store or default_root()))  # which need not be there yet
        print_json(plan) if as_json else print_document(plan)
        return
    if archive and not offline:
        raise UsageError("--from names the only place to ask, which --offline asks for", hint="Add --offline.")
    opened = Store.open(store)
    with progress() as on_event, archived_places(archive, opened) as places:
        image = build_environment(
            where, environment, opened, places=places if offline else None, workers=workers, on_event=on_event
        )
    print_json(_document(image)) if as_json else print_rows(_rows(image))


def _document(image: BuiltImage) -> dict[str, Any]:
    return {
        "digest": image.digest,
        "environment_digest": image.environment_digest,
        "layers": [
            {"name": layer.name, "digest": layer.digest, "diff_id": layer.diff_id, "size": layer.size}
            for layer in image.layers
        ],
        "built": image.built,
        "seconds": round(image.seconds, 3),
    }


def _rows(image: BuiltImage) -> list[tuple[str, str]]:
    reused = len(image.layers) - image.built
    return [
        ("image", image.digest),
        ("environment", image.environment_digest),
        ("layers", f"{len(image.layers)} ({image.built} built, {reused} reused)"),
        ("seconds", f"{image.seconds:.1f}"),
    ]
