"""Reading JSON that a stranger wrote: bounded in size and depth, one value a key, nothing that is not JSON."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from reprise_trainer.errors import InputError

DEPTH_LIMIT = 64
"""Nesting of lists and objects; our own documents have at most eight levels."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""How an escape of half a pair begins; of both halves together, too."""


def parse_json(data: bytes, what: str, *, size_limit: int, half_pairs: bool = False) -> object:
    """The value in UTF-8 JSON bytes.

    Args:
        data: the bytes; `size_limit` is in bytes, too.
        what: the document's name, for messages.
        half_pairs: let a string hold half a surrogate pair: of a list of strangers' documents, one must not spoil all.

    Raises:
        InputError: not JSON, larger than the limit, nested more than `DEPTH_LIMIT` levels deep, an object that names
            a key twice (two readers could each take another value), or a string with half a surrogate pair, which is no
            character, so that nothing could write it again.
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
    if not half_pairs and _SURROGATE.search(data):
        _refuse_half_pairs(document, what)
    return document


def _refuse_half_pairs(document: object, what: str) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the {what} has half a surrogate pair in a string") from error


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
