"""The profile's in-process switches in JAX: set each, then ask JAX what it is set to."""

from __future__ import annotations

import os
from collections.abc import Mapping

import jax

from reprise_trainer.backends.jaxlib_cpu import tell, told
from reprise_trainer.errors import SystemFailureError


def prepare(switches: Mapping[str, str], threads: int) -> tuple[str, ...]:
    """Set the switches and check that JAX follows them and its number of threads.

    Returns:
        Why equal bits cannot be promised with this build of jaxlib; nothing where they can.

    Raises:
        SystemFailureError: JAX reports something else than the profile asks for, or the CPU lacks what it needs.
    """
    unknown = tell(switches)  # before anything is computed
    if "matmul_precision" in switches:
        jax.config.update("jax_default_matmul_precision", switches["matmul_precision"])
    found = {
        "platform": _platform(switches.get("platform", "")),
        "threads": os.environ.get("NPROC", ""),  # XLA sizes its pool by it, and cuts reductions by the pool
        "x64": str(bool(jax.config.jax_enable_x64)).lower(),
        "matmul_precision": str(jax.config.jax_default_matmul_precision),
        **told(switches),
    }
    expected_threads = {"threads": str(threads)} if switches else {}  # a profile that pins nothing pins no pool either
    for name, expected in {**switches, **expected_threads}.items():
        if name not in unknown and found.get(name) != expected:
            raise SystemFailureError(
                f"jax reports {name} {found.get(name)!r}, the profile asks for {expected!r}",
                hint="The CPU or this build of jax cannot keep the profile; nothing was trained.",
            )
    return tuple(f"this build of jaxlib has no {name} that the profile could set" for name in unknown)


def _platform(expected: str) -> str:
    try:
        return str(jax.default_backend())
    except (RuntimeError, AssertionError) as error:  # JAX_PLATFORMS names one that is not here, or has no plugin here
        raise SystemFailureError(
            f"the profile computes on a {expected or 'device'}, and jax finds none"
            + (f": {error}" if str(error) else ""),
            hint='Use an environment and a machine with it, or profile = "x86-64-v3".',
        ) from error
