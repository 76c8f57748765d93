"""Where a shared library keeps its variables, by the symbol table that it was linked with.

Source: System V Application Binary Interface, chapters 4 (section headers, symbol table), in its 64-bit form.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"
"""ELF, 64 bits, least significant byte first."""
_SYMBOL_TABLE = 2
"""SHT_SYMTAB: every symbol, those too that no other library sees. `strip` removes it."""

_SECTIONS_AT, _SECTION_SHAPE_AT = 0x28, 0x3A  # e_shoff; e_shentsize and e_shnum
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


@dataclass(frozen=True, slots=True)
class Symbol:
    """`address`: bytes from where the library is loaded; `size`: bytes."""

    address: int
    size: int


@dataclass(frozen=True, slots=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int

    @property
    def end(self) -> int:
        return self.offset + self.size


def find_symbols(library: Path, names: tuple[str, ...]) -> dict[str, Symbol]:
    """The symbols of these (mangled) names; those that the library's symbol table lacks are left out.

    Raises:
        OSError: the file can't be read.
    """
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        if data[: len(_MAGIC)] != _MAGIC:
            return {}
        sections = list(_sections(data))
        found = {}
        for table in sections:
            if table.kind == _SYMBOL_TABLE:
                for name in names:
                    if symbol := _find(data, table, sections[table.link], name):
                        found[name] = symbol
        return found


def _sections(data: mmap.mmap) -> Iterator[_Section]:
    (start,) = struct.unpack_from("<Q", data, _SECTIONS_AT)
    size, count = struct.unpack_from("<HH", data, _SECTION_SHAPE_AT)
    for number in range(count):
        _, kind, _, _, offset, length, link, *_ = _SECTION.unpack_from(data, start + number * size)
        yield _Section(kind, offset, length, link)


def _find(data: mmap.mmap, table: _Section, strings: _Section, name: str) -> Symbol | None:
    place = data.find(b"\0" + name.encode() + b"\0", strings.offset, strings.end)
    if place < 0:
        return None
    index = struct.pack("<I", place + 1 - strings.offset)
    at = data.find(index, table.offset, table.end)
    while at >= 0:
        if (at - table.offset) % _SYMBOL.size == 0:  # the first field of an entry, and no part of another
            *_, address, size = _SYMBOL.unpack_from(data, at)
            return Symbol(address, size)
        at = data.find(index, at + 1, table.end)
    return None
