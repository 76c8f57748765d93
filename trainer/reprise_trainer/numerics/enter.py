"""How a process comes to run under a profile.

Environment variables work only when they are set before the numeric libraries load. So the command line replaces itself
(execve), once, by a process that has them; called as a library, the trainer changes no process and refuses instead.
Standard library alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from reprise_trainer.errors import RefusedError, SystemFailureError
from reprise_trainer.numerics.profiles import MARKER, Profile

XLA_FLAGS = "XLA_FLAGS"
"""One variable with many switches: a profile sets some, a user may set others."""

_NUMERIC_MODULES = ("numpy", "torch", "jax")


def enter_profile(profile: Profile, threads: int) -> None:
    """Return when this process runs under the profile's switches; else replace it by one that does.

    For command lines alone: the same command is run again (`sys.orig_argv`), with the same input. Call it before
    anything numeric is imported. Variables that were set to something else are overruled, once; flags in XLA_FLAGS that
    the profile doesn't set are kept, and flags that contradict it are refused.

    Raises:
        RefusedError: the switches did not stay set, something numeric was loaded before them, XLA_FLAGS contradicts
            them, or this process is no command that could be run again.
        SystemFailureError: the process could not be replaced.
    """
    loaded = [name for name in _NUMERIC_MODULES if name in sys.modules]
    if loaded:
        raise RefusedError(f"{', '.join(loaded)} was loaded before profile {profile.name!r} could be set")
    unset = unset_switches(profile, threads, os.environ)
    if not unset:
        return
    if os.environ.get(MARKER) == profile.name:
        raise RefusedError(f"profile {profile.name!r} was entered, yet {_differences(unset)}")
    if not _is_a_command():
        raise RefusedError(f"no command that could be run again under profile {profile.name!r}: {_differences(unset)}")
    _replace_process(merged_switches(profile, threads, os.environ))


def require_profile(profile: Profile, threads: int) -> None:
    """Refuse, unless this process runs under the profile's switches: what the trainer does when it is a library.

    Raises:
        RefusedError: names each variable, with the value that it must have before Python starts.
    """
    if unset := unset_switches(profile, threads, os.environ):
        raise RefusedError(
            f"this process does not run under profile {profile.name!r}: {_differences(unset)}",
            hint="Set them before Python starts; only the command line starts itself again. "
            "`reprise_trainer profile --export` prints them.",
        )


def unset_switches(profile: Profile, threads: int, environment: Mapping[str, str]) -> dict[str, tuple[str, str | None]]:
    """Switch → (value that the profile wants, value found), for each that differs. Further flags in XLA_FLAGS are no
    difference (see `further_xla_flags`)."""
    unset = {}
    for name, value in profile.switches(threads).items():
        found = environment.get(name)
        if name == XLA_FLAGS and _flags(value).items() <= _flags(found or "").items():
            continue
        if found != value:
            unset[name] = (value, found)
    return unset


def merged_switches(profile: Profile, threads: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The profile's switches, with the flags that `environment` has in XLA_FLAGS beside the profile's own.

    Raises:
        RefusedError: a flag there has another value than the profile's.
    """
    switches = profile.switches(threads)
    if XLA_FLAGS in switches:
        ours, theirs = _flags(switches[XLA_FLAGS]), _flags(environment.get(XLA_FLAGS, ""))
        for name in sorted(ours.keys() & theirs.keys()):
            if ours[name] != theirs[name]:
                raise RefusedError(
                    f"XLA_FLAGS has {name}={theirs[name]}, profile {profile.name!r} sets it to {ours[name]}",
                    hint=f"Leave {name} out of XLA_FLAGS, or name another profile.",
                )
        switches[XLA_FLAGS] = " ".join((switches[XLA_FLAGS], *further_xla_flags(profile, environment)))
    return switches


def further_xla_flags(profile: Profile, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Flags in `environment`'s XLA_FLAGS that the profile does not set: they may decide bits, so a run says so."""
    ours = _flags(profile.environment.get(XLA_FLAGS, ""))
    theirs = _flags(environment.get(XLA_FLAGS, ""))
    return tuple(f"{name}={value}" for name, value in theirs.items() if name not in ours)


def _flags(text: str) -> dict[str, str]:
    """Flag → value; XLA takes a flag without a value for true."""
    pairs = (flag.partition("=") for flag in text.split())
    return {name: value if equals else "true" for name, equals, value in pairs}


def _differences(unset: Mapping[str, tuple[str, str | None]]) -> str:
    return ", ".join(
        f"{name} is {'not set' if found is None else repr(found)}, expected {value!r}"
        for name, (value, found) in unset.items()
    )


def _is_a_command() -> bool:
    """Whether running the same command again is the same program: not at a prompt, nor a program read from a pipe."""
    if hasattr(sys, "ps1") or sys.flags.interactive:
        return False
    return "-c" in sys.orig_argv or Path(getattr(sys.modules["__main__"], "__file__", None) or "").is_file()


def _replace_process(switches: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **switches})
    except OSError as error:
        raise SystemFailureError(f"{sys.executable}: cannot start again under the profile: {error.strerror}") from error
