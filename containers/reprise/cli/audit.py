"""`reprise audit`: rebuild, replay, compare."""

from __future__ import annotations

from typing import Annotated

import typer

from reprise.cli.options import EngineOption, JsonOption, KeyOption, PolicyOption, StoreOption


def command(
    record: Annotated[str, typer.Argument(help="A run's folder, its record.sigstore.json, or the record's digest.")],
    engine: EngineOption = "namespaces",
    store: StoreOption = None,
    key: KeyOption = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a run's image from its lock, replay the run, and compare: same bits, or the first thing that differs.

    Exit code 0 only for the verdict "same bits".

    Example: `reprise audit runs/fashion-mnist-20260101T000000Z`
    """
    raise SystemExit(70)
