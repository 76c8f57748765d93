"""File names as the Nix store takes them."""

from __future__ import annotations

import re

_REFUSED = re.compile(rb"[^A-Za-z0-9+._?=-]")

LONGEST = 200
"""Bytes of a name. Nix takes 211 (nix, src/libstore/path.cc); a derivation's name has ".drv" behind it."""


def store_name(file_name: str) -> str:
    """The name that a file has in the Nix store.

    Each byte that Nix refuses becomes "-"; of a long name the last LONGEST - 1 bytes are kept; where it then begins
    with a dot, or is empty, a "-" comes before it. Two files may so get one name: their store paths differ by their
    hashes. `containers/nix/names.nix` is the same rule for Nix, and a test holds the two together.
    """
    name = _REFUSED.sub(b"-", file_name.encode()).decode()[-(LONGEST - 1) :]
    return f"-{name}" if name.startswith(".") or not name else name
