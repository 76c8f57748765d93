"""Help is written for somebody who sees the command for the first time."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from reprise.cli.verbs import make_app
from reprise_trainer.commands.main import parser as trainer_parser

FOR_OTHER_PROGRAMS = {"admit", "slurm"}
"""What these print is read by containerd and by sbatch; there is no other form of it."""


def verbs(group: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, f"{name}{word} ")
        else:
            yield f"{name}{word}", command


def trainer_verbs(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                inner = list(trainer_verbs(child, f"{name}{word} "))
                yield from inner or [(f"{name}{word}", child)]


HOST = dict(verbs(typer.main.get_command(make_app())))
TRAINER = dict(trainer_verbs(trainer_parser()))


@pytest.mark.parametrize("name", HOST)
def test_a_verb_of_the_host_explains_itself(name: str) -> None:
    command = HOST[name]
    assert f"Example: `reprise {name}" in command.help
    options = {option for each in command.params for option in each.opts}
    assert "--json" in options or name in FOR_OTHER_PROGRAMS
    for each in command.params:
        assert each.help and each.help[-1] in ".)", each.name
        if each.param_type_name == "argument":  # the docs write arguments in capitals, so help does
            assert each.metavar and each.metavar == each.metavar.upper(), each.name


@pytest.mark.parametrize("name", TRAINER)
def test_a_verb_of_the_trainer_explains_itself(name: str) -> None:
    parser = TRAINER[name]
    assert parser.epilog and parser.epilog.startswith("example: ") and f"reprise_trainer {name}" in parser.epilog
    assert "--json" in parser._option_string_actions
    for action in parser._actions:
        assert action.help
        if action.default not in (None, False, "", [], argparse.SUPPRESS):
            assert f"({action.default})" in action.help, action.dest
