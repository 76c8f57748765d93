"""`reprise lock`: environment → lock."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from reprise.cli.options import EnvironmentArgument, JsonOption, ProjectOption, StoreOption
from reprise.cli.output import print_json

_Format = Literal["pip", "conda", "conda-md5"]
ExportOption = Annotated[
    _Format | None,
    typer.Option("--export", help="Change nothing; print the lock as this installer takes it (conda: micromamba too)."),
]
UpdateOption = Annotated[
    list[str] | None,
    typer.Option("--update", help="Move this package and what it forces alone; repeatable.", metavar="PACKAGE"),
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Change nothing; exit 1 unless the lock is strict and fits its environment.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Solve and show what would move; write nothing.")]
AcceptMd5Option = Annotated[
    bool, typer.Option("--accept-md5", help="Fetch conda-lock entries known by md5 alone; record their sha256.")
]


def command(
    environment: EnvironmentArgument,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    update: UpdateOption = None,
    check: CheckOption = False,
    dry_run: DryRunOption = False,
    accept_md5: AcceptMd5Option = False,
    export: ExportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Solve ENVIRONMENT and write its lock to locks/NAME/; or check the lock that is there.

    Example: `reprise lock torch-cpu --update numpy --dry-run`; `reprise lock torch-cpu --export pip`
    """
    from reprise.cli.progress import progress
    from reprise.lock.check import check_lock
    from reprise.lock.write import propose_lock, write_lock
    from reprise.project import Project
    from reprise.store import Store
    from reprise_trainer.errors import UsageError

    if check and (update or dry_run or accept_md5):
        raise UsageError("--check solves nothing: leave --update, --dry-run and --accept-md5 out")
    if export and (check or update or dry_run or accept_md5):
        raise UsageError("--export prints the lock that is there: leave --check, --update and the others out")
    where = Project.find(project)
    file = where.environment_file(environment)
    if export:
        _print_export(where.lock_folder(environment), file, export, as_json)
        return
    folder, opened = where.root / "locks" / environment, Store.open(store)
    document: dict[str, object] = {"lock": str(folder)}
    if not check:
        with progress(quiet=as_json) as on_event:
            proposal = propose_lock(
                file, folder, update=update or (), accept_md5=accept_md5, store=opened, on_event=on_event
            )
        document |= {"written": not dry_run, "changes": [each.document() for each in proposal.changes]}
        if not as_json:
            print("\n".join(map(str, proposal.changes)) or "nothing moved")
        if not dry_run:
            write_lock(folder, proposal)
    if dry_run:
        if as_json:
            print_json(document)
        return
    _report(document, [str(problem) for problem in check_lock(folder, file, opened)], as_json)


def _report(document: dict[str, object], problems: list[str], as_json: bool) -> None:
    if as_json:
        print_json({**document, "problems": problems})
    else:
        print("\n".join([*problems, f"{document['lock']}: {_count(problems)}"]))
    if problems:
        raise typer.Exit(1)


def _count(problems: list[str]) -> str:
    return f"{len(problems)} problem{'s' * (len(problems) > 1)}" if problems else "strict and up to date"


def _print_export(folder: Path, environment_file: Path, form: _Format, as_json: bool) -> None:
    from reprise.lock.export import export_lock

    text = export_lock(folder, environment_file, form)
    print_json({"lock": str(folder), "format": form, "text": text}) if as_json else print(text, end="")
