"""`pkg.module:function` in a configuration → the function."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable, Mapping
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
    except Exception as error:  # whatever a module of the user's does when it is imported
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"{where}: {module_name} cannot be imported: {type(error).__name__}: {error} "
            f"({last.filename}:{last.lineno})"
        ) from error
    if not callable(found):
        raise InputError(f"{where}: {name!r} is {type(found).__name__}, expected a function")
    function: Callable[..., Any] = found
    return function


def require_options(function: Callable[..., Any], *arguments: object, options: Mapping[str, Any], where: str) -> None:
    """Refuse a table of options that a function can't be called with.

    Args:
        function: the user's.
        arguments: that it is called with beside them.
        options: passed by name.
        where: the table's key, for messages.

    Raises:
        InputError: it has no such parameter, or needs another.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C may not tell
        return
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        raise InputError(f"{where}: the function {error}; it is called {signature}") from error
