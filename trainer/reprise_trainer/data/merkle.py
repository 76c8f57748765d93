"""A Merkle tree over the shards of a snapshot: one root names them all, and a short proof ties one of them to it.

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


def merkle_proof(leaves: Sequence[bytes], index: int) -> tuple[str, ...]:
    """What ties leaf `index` to the root: the hashes of its sibling subtrees, the nearest first, as bare hex."""
    hashes = [_hash(_LEAF + leaf) for leaf in leaves]
    return tuple(each.hex() for each in _proof(hashes, index))


def proof_holds(leaf: bytes, index: int, count: int, proof: Sequence[str], root: str) -> bool:
    """Whether `leaf` is leaf `index` of the `count` leaves under `root` (RFC 6962, section 2.1.1)."""
    if not 0 <= index < count:
        return False
    node, place, last = _hash(_LEAF + leaf), index, count - 1
    for each in proof:
        if last == 0:
            return False  # longer than the tree is deep
        if place % 2 or place == last:
            node = _hash(_NODE + bytes.fromhex(each) + node)
            while place % 2 == 0 and place:  # a last node without a sibling goes up as it is
                place, last = place // 2, last // 2
        else:
            node = _hash(_NODE + node + bytes.fromhex(each))
        place, last = place // 2, last // 2
    return last == 0 and node.hex() == root


def _root(hashes: list[bytes]) -> bytes:
    if not hashes:
        return _hash(b"")
    while len(hashes) > 1:
        level = [_hash(_NODE + left + right) for left, right in list(pairwise(hashes))[::2]]
        hashes = level + hashes[2 * len(level) :]
    return hashes[0]


def _proof(hashes: list[bytes], index: int) -> list[bytes]:
    found = []
    while len(hashes) > 1:
        sibling = index ^ 1
        if sibling < len(hashes):
            found.append(hashes[sibling])
        level = [_hash(_NODE + left + right) for left, right in list(pairwise(hashes))[::2]]
        hashes, index = level + hashes[2 * len(level) :], index // 2
    return found


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
