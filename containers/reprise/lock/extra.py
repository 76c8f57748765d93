"""The libraries that only `reprise lock` needs: they come with the extra of that name."""

from __future__ import annotations

from reprise_trainer.errors import SystemFailureError


def not_installed(library: str) -> SystemFailureError:
    """The error for a library of the extra that can't be imported."""
    return SystemFailureError(f"{library} is not installed", hint="Install it with: pip install 'reprise[lock]'")
