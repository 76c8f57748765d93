"""The libraries that only `reprise lock` needs: they come with the extra of that name."""

from __future__ import annotations

import importlib.util

from reprise_trainer.errors import SystemFailureError


def require_libraries(*, conda: bool) -> None:
    """Ask for the libraries of the extra before anything is solved, which takes minutes.

    Args:
        conda: whether the environment has a conda part.

    Raises:
        SystemFailureError: one is not installed.
    """
    for module, library, needed in (("conda_lock", "conda-lock", True), ("rattler", "py-rattler", conda)):
        if needed and importlib.util.find_spec(module) is None:
            raise not_installed(library)


def not_installed(library: str) -> SystemFailureError:
    """The error for a library of the extra that can't be imported."""
    return SystemFailureError(f"{library} is not installed", hint="Install it with: pip install 'reprise[lock]'")
