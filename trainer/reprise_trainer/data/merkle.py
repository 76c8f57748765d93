"""A Merkle tree: one root names all leaves, the shards of a snapshot or the chunks of a state.

The hashing is that of RFC 6962, section 2.1 (Certificate Transparency): leaves and inner nodes are prefixed with
different bytes, so that neither can pass for the other, and a tree of any number of leaves has one shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

_LEAF, _NODE = b"\x00", b"\x01"


def merkle_root(leaves: Sequence[bytes]) -> str:
    """The root over `leaves`, as bare hex; that of no leaves is sha256 of nothing."""
    return _root([_hash(_LEAF + leaf) for leaf in leaves]).hex()


def _root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return _hash(b"")
    while len(hashes) > 1:
        level = [_hash(_NODE + left + right) for left, right in list(pairwise(hashes))[::2]]
        hashes = level + hashes[2 * len(level) :]
    return hashes[0]


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
