"""`pkg.module:function` in a configuration → the function."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from reprise_trainer.errors import InputError

PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"


def load_entry_point(name: str, *, where: str) -> Callable[..., Any]:
    """The function that `name` points at; imports its module.

    Args:
        name: `pkg.module:function`.
        where: the configuration's key, for messages.

    Raises:
        InputError: no such module or function, or importing it fails.
    """
    module_name, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{where}: {name!r} cannot be loaded: {error}",
            hint="It is written as package.module:function, and the package must be importable where the run goes on.",
        ) from error
    if not callable(found):
        raise InputError(f"{where}: {name!r} is {type(found).__name__}, expected a function")
    function: Callable[..., Any] = found
    return function
