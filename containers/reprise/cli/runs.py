"""`reprise runs`: the runs that a store holds, and the lineage of one."""

from __future__ import annotations

from typing import Annotated

import typer

from reprise.cli.options import JsonOption, StoreOption


def command(
    run: Annotated[
        str | None, typer.Argument(help="A run's id or digest, or its beginning: show its lineage.", metavar="[RUN]")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the runs of the store, the newest first; or show what one RUN follows from, back to the raw data.

    A record is shown for what it says; `reprise audit` finds out whether it is true.

    Example: `reprise runs fashion-mnist-2026`
    """
    from reprise.cli.output import print_json, print_table
    from reprise.runs import HEADER, find_run, lineage, stored_runs
    from reprise.store import Store

    opened = Store.open(store, create=False)
    if run is None:
        runs = stored_runs(opened)
        if as_json:
            print_json({"runs": [each.as_json() for each in runs]})
        else:
            print_table(HEADER, (each.row() for each in runs))
        return
    found = find_run(opened, run)
    things = lineage(found, opened)
    if as_json:
        print_json({**found.as_json(), "lineage": [each.as_json() for each in things]})
    else:
        words = {True: "in the store", False: "not in the store", None: ""}
        rows = ((each.what, each.name, ", ".join(each.follows_from), words[each.held]) for each in things)
        print_table(("WHAT", "NAME", "FOLLOWS FROM", ""), rows)
