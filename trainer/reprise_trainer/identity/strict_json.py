"""Reading JSON that a stranger wrote: bounded in size and depth, one value a key, nothing that is not JSON."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from reprise_trainer.errors import InputError

DEPTH_LIMIT = 64
"""Nesting of lists and objects; our own documents have at most eight levels."""


def parse_json(data: bytes, what: str, *, size_limit: int) -> object:
    """The value in UTF-8 JSON bytes.

    Args:
        data: the bytes; `size_limit` is in bytes, too.
        what: the document's name, for messages.

    Raises:
        InputError: not JSON, larger than the limit, nested more than `DEPTH_LIMIT` levels deep, or an object that names
            a key twice (two readers could each take another value).
    """
    if len(data) > size_limit:
        raise InputError(f"the {what} has {len(data)} bytes, more than the limit of {size_limit}")
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError as error:
        raise InputError(f"the {what} is nested too deeply") from error
    except ValueError as error:  # also UnicodeDecodeError, and integers too long for Python
        raise InputError(f"the {what} is not JSON: {error}") from error
    _bound_depth(document, what)
    return document


def _bound_depth(document: object, what: str) -> None:
    level: list[object] = [document]
    for _ in range(DEPTH_LIMIT):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise InputError(f"the {what} is nested more than {DEPTH_LIMIT} levels deep")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object names one key twice")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
