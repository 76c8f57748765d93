"""How a verb ends. Typer has ways of its own for a reader that left, for Ctrl-C and for defects, with other exit codes;
so nothing of that gets as far as Typer."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from reprise_trainer.ending import ended

INTERRUPTED = "interrupted; what was finished is kept, the same command goes on from there"


def ending(verb: Callable[..., None]) -> Callable[..., NoReturn]:
    """The verb, which then ends the process: by a message and a documented exit code, whatever happens."""

    @functools.wraps(verb)
    def run(*arguments: Any, **options: Any) -> NoReturn:
        def command() -> int:
            try:
                verb(*arguments, **options)
            except typer.Exit as asked:
                return asked.exit_code
            return 0

        sys.exit(ended(command, interrupted=INTERRUPTED, as_json="--json" in sys.argv))

    return run
