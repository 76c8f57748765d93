"""Virtual packages: what a conda solver takes as given about the machine, written down instead of looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reprise.lock.conda import Virtual
from reprise.lock.model import CondaPart
from reprise_trainer.errors import InputError

_NAME = re.compile(r"__[a-z0-9_]+")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.]*")


def virtual_packages(part: CondaPart, glibc: tuple[int, int]) -> tuple[tuple[str, str], ...]:
    """The virtual packages of an environment, sorted, with those that follow from the image itself.

    `__linux` and `__unix` hold for every image (version 0, unless the file says a kernel's), and `__glibc` is the
    Debian suite's, unless the file says an older one. A value is "VERSION" or "VERSION=BUILD"; `__archspec` takes the
    name of a microarchitecture alone, which is its build string (conda's documentation, "Managing virtual packages").

    Args:
        part: the environment's conda part.
        glibc: version of the image's C library.

    Raises:
        InputError: a name or value is malformed, or the C library is newer than the image's.
    """
    given = {"__unix": "0", "__linux": "0", "__glibc": ".".join(map(str, glibc)), **_written(part.virtual)}
    wanted = tuple(int(number) for number in re.findall(r"\d+", given["__glibc"])[:2])
    if wanted > glibc:
        raise InputError(
            f"[conda.virtual] __glibc is {given['__glibc']}, the image's C library is {'.'.join(map(str, glibc))}",
            hint="Leave __glibc out, or write an older version.",
        )
    return tuple(sorted(given.items()))


def as_records(virtual: tuple[tuple[str, str], ...]) -> list[Virtual]:
    """Pairs of name and "VERSION=BUILD" as (name, version, build); the build is "0" where none is written."""
    return [(name, value.partition("=")[0], value.partition("=")[2] or "0") for name, value in virtual]


def _written(pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    found = {}
    for name, value in pairs:
        if not _NAME.fullmatch(name):
            raise InputError(f"[conda.virtual] {name} is no virtual package: its name starts with two underscores")
        if name == "__archspec" and not value[:1].isdigit():
            value = f"1={value}"
        version, _, build = value.partition("=")
        if not _VERSION.fullmatch(version) or ("=" in value and not build):
            raise InputError(f"[conda.virtual] {name} is {value!r}, expected VERSION or VERSION=BUILD")
        found[name] = value
    return found
