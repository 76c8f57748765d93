"""`--set KEY=VALUE`: one value of a configuration, given on the command line instead of in the file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from reprise_trainer.errors import InputError

_INSTEAD = {"train.steps": "train.epochs", "train.epochs": "train.steps"}
"""Keys of which one alone may be given: the one that is set takes the place of the one in the file."""

_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Override:
    """A dotted key and the value that it gets, as TOML has values."""

    key: str
    value: Any

    @property
    def path(self) -> tuple[str, ...]:
        """The tables' names, then the key's own."""
        return tuple(self.key.split("."))


def parse_override(text: str) -> Override:
    """The override in `train.optimizer.lr=0.01`. A value that is not TOML counts as text, so that names need no quotes.

    Raises:
        InputError: no `=`, or the key is not a dotted one; or the value is too long or too deep to be read.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not _KEY.match(key):
        raise InputError(f"--set {text!r}: expected KEY=VALUE, such as train.optimizer.lr=0.01")
    try:
        return Override(key, tomllib.loads(f"value = {value}")["value"])
    except tomllib.TOMLDecodeError:
        return Override(key, value.strip())
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, arrays in arrays in arrays
        raise InputError(f"--set {key}: not a value to be read: {error}") from error


def apply_overrides(document: dict[str, Any], overrides: Iterable[Override]) -> None:
    """Set each override's key in `document`, in order; tables that are missing are made. The length of a run in steps
    takes the place of one in epochs, and the other way round.

    `document` may be any nested mapping of tables, so a document that keeps comments keeps them.

    Raises:
        InputError: a key's way leads through a value that is no table.
    """
    overrides = tuple(overrides)
    given = {override.key for override in overrides}
    for override in overrides:
        table = document
        for name in override.path[:-1]:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise InputError(f"--set {override.key}: {name} is not a table")
        table[override.path[-1]] = override.value
        if (other := _INSTEAD.get(override.key)) and other not in given:
            table.pop(other.rpartition(".")[2], None)
