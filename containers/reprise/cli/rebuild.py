"""`reprise rebuild`: build an image again from what is kept beside it, and compare."""

from __future__ import annotations

import typer

from reprise.cli.options import ImageArgument, JsonOption, StoreOption


def command(
    image: ImageArgument,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build IMAGE again, in an empty store, from the lock, environment and trainer kept beside it, and compare.

    Exit code 0 only when the manifest is the same, which means: every bit.

    Example: `reprise rebuild torch-cpu`
    """
    from reprise.cli.diff import print_findings
    from reprise.cli.output import print_json, print_rows
    from reprise.cli.progress import progress
    from reprise.rebuild import rebuild
    from reprise.store import Store

    opened = Store.open(store, create=False)
    with progress() as on_event:
        report = rebuild(opened.resolve(image), opened, on_event=on_event)
    if as_json:
        print_json(report.as_json())
    else:
        print_rows(
            [
                ("level", report.level),
                ("image", report.expected),
                ("rebuilt", report.found),
                *((name, "same" if same else "DIFFERENT") for name, same in report.agrees.items()),
            ]
        )
        if not report.same:
            print_findings(report.diff)
    if not report.same:
        raise typer.Exit(1)
