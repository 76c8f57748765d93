"""Symbols of a library's table lie where its own loader says that they lie."""

from __future__ import annotations

import ctypes
from pathlib import Path

import jax
import pytest

from reprise_trainer.backends.elf_symbols import find_symbols
from reprise_trainer.backends.jaxlib_cpu import LIBRARY

EXPORTED = "Wrapped_PyInit__jax"
"""What jaxlib's library lets others see, so that the loader knows it too."""


def test_a_symbol_lies_where_the_loader_finds_it() -> None:
    assert jax.__version__  # has loaded the library
    library = ctypes.CDLL(str(LIBRARY))
    found = find_symbols(LIBRARY, (EXPORTED,))[EXPORTED]
    start = next(line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(LIBRARY)))
    here = ctypes.cast(library[EXPORTED], ctypes.c_void_p).value
    assert here == int(start.partition("-")[0], 16) + found.address and found.size > 0


def test_names_that_a_library_lacks_are_left_out() -> None:
    assert find_symbols(LIBRARY, ("no_such_symbol", EXPORTED[:-1], EXPORTED[1:])) == {}


def test_a_library_without_its_symbol_table_has_none() -> None:
    libc = next(Path("/lib/x86_64-linux-gnu").glob("libc.so.6"))  # Debian strips it
    assert find_symbols(libc, ("malloc",)) == {}


@pytest.mark.parametrize("data", [b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(80)])
def test_what_is_no_library_of_64_bits_has_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert find_symbols(tmp_path / "file", ("malloc",)) == {}
