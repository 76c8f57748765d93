"""How a process comes to run under a profile.

Environment variables work only when they are set before the numeric libraries load, so the trainer replaces itself
(execve) by a process that has them. Standard library alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from reprise_trainer.errors import RefusedError, SystemFailureError
from reprise_trainer.numerics.profiles import MARKER, Profile

_NUMERIC_MODULES = ("numpy", "torch", "jax")


def enter_profile(profile: Profile, threads: int) -> None:
    """Return when this process runs under the profile's switches; else replace it by one that does.

    Call it before anything numeric is imported. Switches that were set to something else are overruled, once.

    Raises:
        RefusedError: the switches did not stay set, or something numeric was loaded before them.
        SystemFailureError: the process could not be replaced.
    """
    loaded = [name for name in _NUMERIC_MODULES if name in sys.modules]
    if loaded:
        raise RefusedError(f"{', '.join(loaded)} was loaded before profile {profile.name!r} could be set")
    unset = unset_switches(profile, threads, os.environ)
    if not unset:
        return
    if os.environ.get(MARKER) == profile.name:
        details = ", ".join(f"{name} is {found!r}, expected {value!r}" for name, (value, found) in unset.items())
        raise RefusedError(f"profile {profile.name!r} was entered, yet {details}")
    _replace_process(profile.switches(threads))


def unset_switches(profile: Profile, threads: int, environment: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """Switch → (value that the profile wants, value found), for each that differs."""
    wanted = profile.switches(threads)
    return {name: (value, environment.get(name)) for name, value in wanted.items() if environment.get(name) != value}


def _replace_process(switches: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **switches})
    except OSError as error:
        raise SystemFailureError(f"{sys.executable}: cannot start again under the profile: {error.strerror}") from error
