"""`reprise scan`: known vulnerabilities of what is locked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reprise.cli.options import JsonOption, ProjectOption, StoreOption

if TYPE_CHECKING:
    from reprise.vulnerabilities.scan import ScanReport

Threshold = Literal["low", "medium", "high", "critical"]


def command(
    target: Annotated[
        str, typer.Argument(help="An environment's name, or the digest of an image in the store.", metavar="TARGET")
    ],
    database: Annotated[
        Path | None,
        typer.Option("--database", help="Folder of OSV JSON files, as an OSV export unpacks to.", metavar="DIR"),
    ] = None,
    service: Annotated[
        Literal["pypi", "osv"] | None,
        typer.Option("--service", help="Ask this service of pip-audit instead (Python packages alone)."),
    ] = None,
    service_url: Annotated[
        str, typer.Option("--service-url", help="Address of the OSV service's query, for a mirror.", metavar="URL")
    ] = "",
    ignore: Annotated[
        Path | None, typer.Option("--ignore", help="TOML file of what to ignore, why, and until when.", metavar="FILE")
    ] = None,
    fail_on: Annotated[
        Threshold | None,
        typer.Option("--fail-on", help="Exit 1 when a finding is at least this bad, or of unknown severity."),
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", help="Also write the report here, as SARIF 2.1.0.", metavar="FILE")
    ] = None,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Match the lock of TARGET with vulnerability data, and say which packages the data does not cover.

    Example: `reprise scan torch-cpu --database osv/ --fail-on high`
    """
    from datetime import UTC, datetime

    from reprise.cli.output import print_json
    from reprise.vulnerabilities.choose import Data, scan
    from reprise.vulnerabilities.ignore import read_ignored
    from reprise.vulnerabilities.report import as_json as report_as_json
    from reprise.vulnerabilities.sarif import write_sarif
    from reprise.vulnerabilities.target import find_lock
    from reprise_trainer.errors import UsageError

    if (database is None) == (service is None):
        raise UsageError("name the data: either --database DIR or --service NAME")
    data = Data(database, service or "pypi", service_url)
    lock = find_lock(target, project, store)
    report = scan(target, lock, data, read_ignored(ignore) if ignore else (), datetime.now(UTC).date())
    if sarif is not None:
        write_sarif(report, f"locks/{lock.environment}", sarif)
    print_json(report_as_json(report)) if as_json else _print(report)
    if fail_on is not None and report.failing(fail_on):
        raise typer.Exit(1)


def _print(report: ScanReport) -> None:
    from reprise.cli.output import print_table
    from reprise.vulnerabilities.report import HEADER, table

    print(f"{report.target}: {len(report.findings)} known vulnerabilities, by {report.source}")
    for name, count in report.covered:
        print(f"  covered      {name}: {count} packages")
    for name, count in report.uncovered:
        print(f"  NOT COVERED  {name}: {count} packages, of which this data knows nothing")
    if report.findings:
        print_table(HEADER, table(report))
