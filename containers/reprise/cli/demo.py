"""`reprise demo`: the main job in one go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reprise.cli.options import (
    ConfigArgument,
    EngineOption,
    JsonOption,
    KeyOption,
    PassphraseCommandOption,
    PassphraseDescriptorOption,
    PolicyOption,
    ProjectOption,
    StoreOption,
)

if TYPE_CHECKING:
    from reprise.demo import DemoReport


def command(
    config: ConfigArgument,
    engine: EngineOption = "namespaces",
    project: ProjectOption = Path(),
    store: StoreOption = None,
    key: KeyOption = None,
    policy: PolicyOption = None,
    passphrase_fd: PassphraseDescriptorOption = None,
    passphrase_command: PassphraseCommandOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch, build, sign, verify, train inside the image, and audit the run: the whole way, with a table at its end.

    Example: `reprise demo examples/fashion-mnist.toml`
    """
    from reprise.cli.launcher import open_launcher
    from reprise.cli.output import print_json
    from reprise.cli.progress import progress
    from reprise.demo import run_demo
    from reprise.project import Project
    from reprise.run_config import load_config
    from reprise.store import Store

    load_config(config)  # what is wrong with it is said before a key or a store is made
    launcher = open_launcher(
        Store.open(store), key, policy, engine, passphrase_fd=passphrase_fd, passphrase_command=passphrase_command
    )
    with progress() as on_event:
        report = run_demo(config, launcher, Project.find(project), on_event=on_event)
    if as_json:
        print_json(_document(report))
    else:
        _print_table(report)
    if report.audit.verdict != "same bits":
        raise typer.Exit(1)


def _document(report: DemoReport) -> dict[str, Any]:
    return {
        "image": {"built": report.built, "signed": report.signed, "measured": report.run.measured_digest},
        "environment_digest": report.environment,
        "run": report.run.as_json(),
        "audit": report.audit.as_json(),
        "seconds": {name: round(value, 3) for name, value in report.seconds.items()},
    }


def _print_table(report: DemoReport) -> None:
    from reprise.cli.output import print_rows

    run = report.run
    accuracy = f"{run.metrics['correct']:,} of {run.metrics['total']:,} ({run.metrics['accuracy']})"
    rows = [
        ("image, built", report.built),
        ("image, signed", report.signed),
        ("image, measured inside", run.measured_digest),
        ("data snapshot", run.snapshot_digest),
        ("ledger head", run.ledger_head),
        ("state", run.state_digest),
        ("accuracy", accuracy),
        ("run record", run.record),
        ("files", os.path.relpath(run.output)),
        ("audit", report.audit.verdict),
        ("seconds", ", ".join(f"{name} {value:.1f}" for name, value in report.seconds.items())),
    ]
    if report.audit.first_difference:
        rows.append(("first difference", report.audit.first_difference))
    print_rows(rows)
