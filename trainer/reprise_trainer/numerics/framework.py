"""A framework under the profile that this process has, without a model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from reprise_trainer.errors import SystemFailureError


def prepare(backend: str, switches: Mapping[str, str], threads: int) -> tuple[str, tuple[str, ...]]:
    """Load `torch` or `jax` and set the profile's in-process switches.

    Returns:
        The framework's version, and why equal bits cannot be promised with this build of it.

    Raises:
        SystemFailureError: it is not here, does not run on this CPU, or can't keep the profile.
    """
    try:
        module = importlib.import_module(f"reprise_trainer.backends.{backend}_switches")
        framework = importlib.import_module(backend)
    except ModuleNotFoundError as error:
        raise SystemFailureError(f"backend {backend!r} cannot be loaded: there is no {error.name} here") from error
    except RuntimeError as error:  # jaxlib says so when the CPU lacks an instruction set that it was compiled for
        raise SystemFailureError(f"backend {backend!r} does not start here: {error}") from error
    return str(framework.__version__), module.prepare(switches, threads)
