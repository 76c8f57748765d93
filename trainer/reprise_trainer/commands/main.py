"""`reprise_trainer VERB …`: find the verb, run it, turn errors into one message and an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from reprise_trainer.commands import checkpoint, config, ledger, operations, parity, profile, reproduce
from reprise_trainer.ending import ended
from reprise_trainer.errors import SystemFailureError, UsageError

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
        try:
            code: int = chosen.command(chosen)
        except ModuleNotFoundError as error:
            raise _not_installed(error) from error
        return code

    return ended(command, as_json="--json" in arguments)


def _not_installed(error: ModuleNotFoundError) -> Exception:
    """What is said where verbs run beside `reprise`, on a host that has no need of NumPy otherwise."""
    name = (error.name or "").partition(".")[0]
    if name not in ("numpy", "safetensors"):  # frameworks are asked for by name, and say so themselves
        return error
    return SystemFailureError(
        f"{name} is not installed here", hint="Install it with: pip install 'reprise[checkpoints]'"
    )
