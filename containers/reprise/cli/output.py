"""What verbs print on stdout."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any


def print_json(document: dict[str, Any]) -> None:
    """One JSON document, keys in the order in which the verb says them."""
    print(json.dumps(document, ensure_ascii=False, indent=2))


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Two aligned columns: names and values."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}".rstrip())


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns under a header."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
