"""`reprise_trainer VERB …`: find the verb, run it, turn errors into one message and an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from reprise_trainer.commands import checkpoint, config, ledger, operations, parity, profile, reproduce
from reprise_trainer.ending import ended
from reprise_trainer.errors import UsageError

VERBS = (config, checkpoint, ledger, operations, profile, parity, reproduce)
"""Modules of verbs, in the order of the help text. They import what is heavy inside their functions."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line the way every other error is said."""

    def error(self, message: str) -> Any:
        raise UsageError(f"{self.prog}: {message}", hint=f"See {self.prog} --help.")


def parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    top = _Parser(
        prog="reprise_trainer",
        description="What there is to ask about a training run. Without a verb, inside an image: run it.",
    )
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    for module in VERBS:
        module.add(verbs)
    return top


def main(arguments: Sequence[str]) -> int:
    """Run the verb that `arguments` name, and return the exit code."""

    def command() -> int:
        try:
            chosen = parser().parse_args(arguments)
        except SystemExit as asked:  # --help: argparse ends the process by itself
            return int(asked.code or 0)
        code: int = chosen.command(chosen)
        return code

    return ended(command, as_json="--json" in arguments)
