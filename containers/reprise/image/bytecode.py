"""Bytecode of Python sources: `__pycache__/*.pyc` that never have to be checked against their source.

"Unchecked hash" pycs (PEP 552) hold no time, so that a layer's constant times don't make them stale. Each depends on
its source, its in-image path and the Python that compiles, and on nothing else. On 3.11 that holds when one process
compiles many files (tests compare with a fork a file); since 3.12 strings that an earlier file has interned change the
bytes (cpython issue 129724), so there each file is compiled in a fork of its own.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from reprise.image.entries import Entry
from reprise.image.format import PythonLayout
from reprise_trainer.errors import SystemFailureError

_UNCHECKED_HASH = (0b01).to_bytes(4, "little")
"""PEP 552: bit 0 says hash instead of time, bit 1 (unset) that it must be checked."""

_LENGTH = 8

ORDER_MATTERS = sys.version_info >= (3, 12)


def is_compiled(entry: Entry, layout: PythonLayout) -> bool:
    """Whether bytecode is made for an entry: a `.py` file that Python can import."""
    return entry.type == "file" and entry.path.endswith(".py") and entry.path.startswith(layout.compiled_folders)


def bytecode_path(path: str) -> str:
    """Where Python looks for the bytecode of the source at `path` (PEP 3147)."""
    return importlib.util.cache_from_source(path, optimization="")


def bytecode(source: bytes, path: str) -> bytes | None:
    """The pyc of one source, as `py_compile` writes it; None when it doesn't compile in this Python.

    Packages ship sources for other Pythons and templates that are no Python at all; installers pass over them too.

    Args:
        source: the file's bytes.
        path: its path in the image, relative to the root; the code object's `co_filename` is the absolute one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = compile(source, f"/{path}", "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError, RecursionError):
            return None
    hashed = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + hashed + marshal.dumps(code)


def in_a_fork(source: bytes, path: str) -> bytes | None:
    """`bytecode` in a process that has compiled nothing before.

    Raises:
        SystemFailureError: that process died.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(receive)
            with os.fdopen(send, "wb") as pipe:
                pipe.write(bytecode(source, path) or b"")
            status = 0
        finally:
            os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        compiled = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise SystemFailureError(f"the process that compiled /{path} died", hint="Is there enough memory?")
    return compiled or None


def write_all(sources: Iterable[Entry], out: BinaryIO) -> None:
    """Compile `sources` in order and write each result after its length (8 bytes; 0: it doesn't compile)."""
    compiler: Callable[[bytes, str], bytes | None] = in_a_fork if ORDER_MATTERS else bytecode
    for entry in sources:
        compiled = compiler(entry.read(), entry.path) or b""
        out.write(len(compiled).to_bytes(_LENGTH, "little") + compiled)


def read_all(sources: Iterable[Entry], written: BinaryIO) -> Iterator[tuple[Entry, bytes]]:
    """What `write_all` wrote for the same sources: each that compiled, with its bytecode."""
    for entry in sources:
        compiled = written.read(int.from_bytes(written.read(_LENGTH), "little"))
        if compiled:
            yield entry, compiled
