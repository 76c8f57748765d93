"""What verbs print on stdout."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any


def print_json(document: dict[str, Any]) -> None:
    """One JSON document, keys in the order in which the verb says them."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def print_document(document: Mapping[str, object], *, without: Collection[str] = ()) -> None:
    """What `print_json` prints, but for the keys `without`, as people write it: a row a key."""
    print_rows((name.replace("_", " "), in_words(value)) for name, value in document.items() if name not in without)


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Two aligned columns: names and values."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}".rstrip())


def in_words(value: object) -> str:
    """A value of a JSON document as people write it: `True` is yes, an empty list is none."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case None | "":
            return ""
        case Mapping():
            return ", ".join(f"{name} {in_words(each)}" for name, each in value.items()) or "none"
        case str():
            return value
        case Iterable():
            return ", ".join(map(in_words, value)) or "none"
        case _:
            return str(value)


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns under a header."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
