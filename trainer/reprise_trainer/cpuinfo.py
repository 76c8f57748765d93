"""This machine's CPU, as the kernel describes it. Standard library alone."""

from __future__ import annotations

from pathlib import Path

from reprise_trainer.errors import SystemFailureError


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """The first processor's fields in /proc/cpuinfo, by name.

    Raises:
        SystemFailureError: it can't be read.
    """
    try:
        first = path.read_text().split("\n\n", 1)[0]
    except OSError as error:
        raise SystemFailureError(f"{path}: cannot read what the CPU is: {error.strerror}") from error
    pairs = (line.partition(":") for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}
