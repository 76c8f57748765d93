"""Canonical JSON and digests: one value, one byte string, one name."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

DIGEST_PATTERN = re.compile(r"sha256:[0-9a-f]{64}\Z")


def canonical_json(value: Any) -> bytes:
    """The one JSON text of `value`: sorted keys, no spaces, UTF-8 as it is, no NaN.

    Agrees with RFC 8785 (JCS) for what our formats hold: strings, booleans, null, lists, objects with ASCII keys and
    integers. Floats are refused, since their text form is where JSON writers differ: formats hold them as hex strings.

    Raises:
        TypeError: for a float, or for a value that JSON cannot hold.
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _refuse_floats(value: Any) -> None:
    match value:
        case float():
            raise TypeError(f"canonical JSON holds no floats (found {value!r}); write float.hex() instead")
        case dict():
            for item in value.values():
                _refuse_floats(item)
        case list() | tuple():
            for item in value:
                _refuse_floats(item)


def sha256_digest(data: bytes) -> str:
    """The OCI digest string of `data`: `sha256:` and 64 hex digits (OCI image spec, descriptor)."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
