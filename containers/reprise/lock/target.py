"""What the image runs on, in Python packaging's terms: wheel tags and environment markers (PEP 425, 508, 600)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packaging import tags

from reprise.lock.model import PLATFORM
from reprise_trainer.errors import InputError

GLIBC = {"bookworm": (2, 36)}
"""The C library's version in each Debian suite that an image can be made of (package libc6)."""

_OLDEST_GLIBC = (2, 5)  # manylinux1, PEP 513
_ALIASES = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}  # PEP 600, "legacy" tags


@dataclass(frozen=True, slots=True)
class Target:
    """An image's Python ("3.11") on x86-64 Linux with a glibc of (major, minor); `release` is "3.11.9" where known."""

    python: str
    glibc: tuple[int, int]
    release: str = ""

    @property
    def abis(self) -> tuple[str, ...]:
        return (f"cp{self.python.replace('.', '')}", "abi3", "none")

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags, best first."""
        return tuple(self._platforms())

    def _platforms(self) -> Iterator[str]:
        major, newest = self.glibc
        for minor in range(newest, _OLDEST_GLIBC[1] - 1, -1):
            yield f"manylinux_{major}_{minor}_x86_64"
            if (major, minor) in _ALIASES:
                yield f"{_ALIASES[major, minor]}_x86_64"
        yield "linux_x86_64"

    @property
    def tags(self) -> frozenset[tags.Tag]:
        """Every wheel tag that fits."""
        version = (int(self.python.split(".")[0]), int(self.python.split(".")[1]))
        interpreter = f"cp{version[0]}{version[1]}"
        specific = tags.cpython_tags(version, platforms=self.platforms)
        return frozenset([*specific, *tags.compatible_tags(version, interpreter, self.platforms)])

    @property
    def markers(self) -> dict[str, str]:
        """Environment markers (PEP 508). Kernel version and Debian's patch level of Python are not known here."""
        release = self.release or f"{self.python}.0"
        return {
            "implementation_name": "cpython",
            "implementation_version": release,
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": release,
            "python_version": self.python,
            "sys_platform": "linux",
        }


def target_of(python: str, platform: str, suite: str) -> Target:
    """The target of an environment.

    Raises:
        InputError: the platform or the suite is not supported.
    """
    if platform != PLATFORM or suite not in GLIBC:
        raise InputError(f"platform {platform!r} on Debian {suite!r} is not supported, only {PLATFORM} on bookworm")
    return Target(python, GLIBC[suite])
