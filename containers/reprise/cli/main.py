"""The `reprise` command: the one place where errors become messages and exit codes."""

from __future__ import annotations

import sys

from reprise.cli.verbs import asked_for, make_app
from reprise_trainer.ending import ended


def main() -> None:
    """Run the command line; every expected failure is one message on stderr and a documented exit code."""
    sys.exit(ended(_run))


def _run() -> int:
    """The command line by Typer, which ends it by itself: wrong options in its own words, verbs as `ending` says."""
    try:
        make_app(asked_for(sys.argv[1:]))()
    except SystemExit as asked:
        return asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    return 0
