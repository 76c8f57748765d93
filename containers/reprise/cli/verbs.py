"""The verbs of the command line, one module each, imported when they are asked for.

A command has to start before it can do anything, on a GPU host before each run: all verbs' modules and the parameters
that Typer builds from them cost 0.1 to 0.2 s, one verb's 0.05 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated

import typer

import reprise
from reprise.cli.ending import ending

VERBS = (
    *("lock", "fetch", "build", "key", "sign", "witness", "verify", "archive", "push", "pull", "bundle", "load"),
    *("ingest", "train", "run", "slurm", "runs", "keep", "doctor", "audit", "rebuild", "diff", "demo", "sbom"),
    *("scan", "outdated", "prune", "policy", "admit"),
)
"""In the order in which `reprise --help` lists them; each is a module beside this one, with `command` or an `app`."""


def asked_for(arguments: Sequence[str]) -> tuple[str, ...]:
    """The verbs that a command line may need: the one that it begins with, else all (for help, and for a wrong one)."""
    return (arguments[0],) if arguments and arguments[0] in VERBS else VERBS


def make_app(verbs: Iterable[str] = VERBS) -> typer.Typer:
    """The command line with these verbs."""
    app = typer.Typer(
        name="reprise",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for verb in verbs:
        module = import_module(f"reprise.cli.{verb}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb)
        else:
            app.command(name=verb)(ending(module.command))
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"reprise {reprise.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """The same lock gives the same image, and the same run gives the same weights; both can be checked."""
