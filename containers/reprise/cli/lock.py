"""`reprise lock`: environment → lock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reprise.cli.options import JsonOption, ProjectOption, StoreOption

_Format = Literal["pip", "conda", "conda-md5"]


def command(
    environment: Annotated[str, typer.Argument(help="Name of an environment, as in containers/images/NAME.toml.")],
    project: ProjectOption = Path(),
    store: StoreOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 unless the lock is strict and fits its environment.")
    ] = False,
    export: Annotated[
        _Format | None,
        typer.Option(help="Change nothing; print the lock as this installer takes it (conda: micromamba too)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Solve ENVIRONMENT and write its lock to locks/NAME/; or check the lock that is there.

    Example: `reprise lock torch-cpu --check`; `reprise lock torch-cpu --export pip > requirements.txt`
    """
    from reprise.cli.output import print_json
    from reprise.lock.check import check_lock
    from reprise.lock.write import lock_environment
    from reprise.project import Project
    from reprise.store import Store

    where = Project.find(project)
    file = where.environment_file(environment)
    folder = where.root / "locks" / environment
    if export:
        _print_export(where.lock_folder(environment), file, export, as_json)
        return
    if not check:
        lock_environment(file, folder)
    problems = check_lock(folder, file, Store.open(store))
    if as_json:
        print_json({"lock": str(folder), "problems": [str(problem) for problem in problems]})
    else:
        for problem in problems:
            print(problem)
        print(f"{folder}: {f'{len(problems)} problems' if problems else 'strict and up to date'}")
    if problems:
        raise typer.Exit(1)


def _print_export(folder: Path, environment_file: Path, form: _Format, as_json: bool) -> None:
    from reprise.cli.output import print_json
    from reprise.lock.export import export_lock

    text = export_lock(folder, environment_file, form)
    print_json({"lock": str(folder), "format": form, "text": text}) if as_json else print(text, end="")
