"""The profile's in-process switches in JAX: set each, then ask JAX what it is set to."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax

from reprise_trainer.errors import SystemFailureError


def prepare(switches: Mapping[str, str], threads: int) -> None:
    """Set the switches and check that JAX follows them and its number of threads.

    Raises:
        SystemFailureError: JAX reports something else than the profile asks for.
    """
    if "matmul_precision" in switches:
        jax.config.update("jax_default_matmul_precision", switches["matmul_precision"])
    found = {
        "platform": jax.default_backend(),
        "threads": os.environ.get("NPROC", ""),  # XLA sizes its pool by it, and cuts reductions by the pool
        "x64": str(bool(jax.config.jax_enable_x64)).lower(),
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
    }
    for name, expected in {**switches, "threads": str(threads)}.items():
        if found.get(name) != expected:
            raise SystemFailureError(
                f"jax reports {name} {found.get(name)!r}, the profile asks for {expected!r}",
                hint="The CPU or this build of jax cannot keep the profile; nothing was trained.",
            )
