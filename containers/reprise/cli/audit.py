"""`reprise audit`: rebuild, replay, compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.options import EngineOption, JsonOption, PolicyOption, StoreOption

if TYPE_CHECKING:
    from reprise.audit import AuditReport

EXIT_CODES: Mapping[str, int] = {"same bits": 0, "different": 1, "not comparable here": 3}
"""By verdict."""


def command(
    record: Annotated[
        str,
        typer.Argument(
            help="A run's folder, its record.sigstore.json, or its id or digest in the store.", metavar="RUN"
        ),
    ],
    engine: EngineOption = "namespaces",
    store: StoreOption = None,
    policy: PolicyOption = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="UTC time, as 2026-01-31T12:00:00Z, at which the record's delegation must be valid; by default the "
            "end of the run, by its own record.",
            metavar="TIME",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a run's image from its lock, replay the run, and compare: same bits, or the first thing that differs.

    Exit code 0 for the verdict "same bits", 1 for "different", 3 for "not comparable here": this machine cannot give
    the run's bits, or the profile promises none between the run's machine and this one.

    Example: `reprise audit runs/fashion-mnist-20260101T000000Z-1a2b3c`
    """
    from reprise.audit import audit
    from reprise.cli.output import print_json
    from reprise.cli.progress import progress
    from reprise.runs import run_reference
    from reprise.store import Store
    from reprise.train import Launcher
    from reprise.trust.keys import home, make_key
    from reprise.trust.policy_file import POLICY_FILE, load_policy
    from reprise_trainer.identity.delegation import read_time

    judged_at = read_time(at, "--at") if at is not None else None
    rules = load_policy(policy or home() / POLICY_FILE)
    auditor = Launcher(Store.open(store, create=False), make_key(), rules, engine)
    with progress() as on_event:
        report = audit(run_reference(record, auditor.store), auditor, at=judged_at, on_event=on_event)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    if code := EXIT_CODES[report.verdict]:
        raise typer.Exit(code)


def _print(report: AuditReport) -> None:
    print(f"verdict: {report.verdict}")
    print(f"  record   {'holds' if report.record.holds else 'DOES NOT HOLD'}: {report.record.why}")
    for name, part in report.parts.items():
        outcome = {True: "equal", False: "DIFFERENT", None: "not compared"}[part.equal]
        print(f"  {name:<7}  {outcome}: {part.difference or part.found}")
    if report.obstacle:
        print(f"  machine  {report.obstacle}")
