"""The prefix that a conda package was built with → the one that it has in the image.

Rules of conda's installers, which tests compare byte for byte with py-rattler: in text every occurrence is replaced,
and a first line that names an interpreter must stay short enough for the kernel; in binaries each C string keeps its
length.
"""

from __future__ import annotations

import re

from reprise_trainer.errors import InputError

MAX_SHEBANG = 127
"""Bytes of a first line `#!…` that Linux reads (execve(2): 127 before Linux 5.1, and what conda keeps to)."""

_SHEBANG = re.compile(rb"#! *(?P<program>/(?:\\ |[^ \n\r\t])*)(?P<arguments>[^\n]*)")
_PYTHON = re.compile(rb"python(\d+(\.\d+)?)?")


def replace_in_text(data: bytes, placeholder: bytes, prefix: bytes) -> bytes:
    """A text file with every `placeholder` replaced by `prefix`; a first line `#!` that gets too long is rewritten."""
    if not data.startswith(b"#!"):
        return data.replace(placeholder, prefix)
    end = data.find(b"\n")
    first, rest = (data, b"") if end < 0 else (data[:end], data[end:])
    return _shebang(first.replace(placeholder, prefix)) + rest.replace(placeholder, prefix)


def python_shebang(interpreter: str) -> str:
    """The first line or lines of a program for the Python at this path, without the newline at their end."""
    return _shebang(f"#!{interpreter}".encode()).decode()


def _shebang(line: bytes) -> bytes:
    """A first line that the kernel reads whole.

    Python starts through a line that is a command for the shell and a string for Python; other programs by their
    name alone, through env.
    """
    if len(line) <= MAX_SHEBANG or (match := _SHEBANG.fullmatch(line)) is None:
        return line
    program, arguments = match["program"], match["arguments"]
    name = program.rpartition(b"/")[2]
    if _PYTHON.fullmatch(name):
        return b"#!/bin/sh\n'''exec' \"%s\"%s \"$0\" \"$@\" #'''" % (program, arguments)
    return b"#!/usr/bin/env %s%s" % (name, arguments)


def replace_in_binary(data: bytes, placeholder: bytes, prefix: bytes, where: str) -> bytes:
    """A binary file with every `placeholder` replaced by `prefix`, and as many zero bytes added at the end of each C
    string as it has lost: no offset moves.

    Args:
        data: the whole file.
        placeholder: not empty.
        prefix: at most as long as `placeholder`.
        where: the artifact and the path, for messages.

    Raises:
        InputError: `prefix` is longer than `placeholder`.
    """
    require_room(placeholder, prefix, where)
    pieces: list[bytes] = []
    at = 0
    while (start := data.find(placeholder, at)) >= 0:
        end = data.find(b"\0", start + len(placeholder))
        end = len(data) if end < 0 else end
        replaced = data[start:end].replace(placeholder, prefix)
        pieces += (data[at:start], replaced, bytes(end - start - len(replaced)))
        at = end
    return b"".join((*pieces, data[at:]))


def require_room(placeholder: bytes, prefix: bytes, where: str) -> None:
    """Refuse a prefix that is longer than the one that a binary file was built with.

    Raises:
        InputError: it is.
    """
    if len(prefix) > len(placeholder):
        raise InputError(
            f"{where} was built for a prefix of at most {len(placeholder)} bytes, and the image's is longer "
            f"({len(prefix)}): {prefix.decode()}",
            hint="Choose a shorter conda.prefix in the environment file, and lock it again.",
        )
