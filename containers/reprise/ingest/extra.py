"""Libraries of the extra `reprise[data]`, asked for only by the formats that need them."""

from __future__ import annotations

import importlib
from typing import Any

from reprise_trainer.errors import SystemFailureError


def need(module: str, what: str) -> Any:
    """Import `module`, which reading `what` takes.

    Raises:
        SystemFailureError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SystemFailureError(
            f"reading {what} needs {module.partition('.')[0]}: {error}",
            hint="Install it with: pip install 'reprise[data]'",
        ) from error
