"""The state digest: the name of a training state, over its tensors' bytes and never over a file.

Parameters and optimizer tensors both count: equal losses prove nothing, equal weights alone not enough. Each tensor is
cut into chunks of 1 MiB, and the digest is the root of a Merkle tree over a tensor's row, whose own root is over its
chunks. So two lists of chunk hashes show the first differing tensor and chunk, and one tensor can be checked without
the others.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.canonical import canonical_json
from reprise_trainer.data.merkle import merkle_root

FORMAT: Final = 2
CHUNK: Final = 1048576
"""Bytes of a tensor that one hash covers."""


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor: name, element type (NumPy's name), shape, and the sha256 of each chunk, bare hex."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[str, ...]

    @property
    def leaf(self) -> bytes:
        """What the state's tree is over: canonical JSON, in which a root stands for the chunks."""
        root = merkle_root([bytes.fromhex(chunk) for chunk in self.chunks])
        return canonical_json({"name": self.name, "dtype": self.dtype, "shape": self.shape, "chunks": root})


Rows = Sequence[Row]
"""One row a tensor, sorted by name."""


def tensor_rows(tensors: Mapping[str, NDArray[Any]]) -> tuple[Row, ...]:
    """The rows of a state's tensors; chunks are hashed by as many threads as this process has cores.

    Elements count as little-endian bytes in C order, whatever the array's layout in memory.
    """
    names = sorted(tensors)
    chunks = {name: list(_chunks(canonical_array(tensors[name]))) for name in names}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        hashes = pool.map(_sha256, [chunk for name in names for chunk in chunks[name]])
        return tuple(
            Row(name, tensors[name].dtype.name, tensors[name].shape, tuple(next(hashes) for _ in chunks[name]))
            for name in names
        )


def canonical_array(tensor: NDArray[Any]) -> NDArray[Any]:
    """The same elements, little-endian and in C order; the array itself where it is so already."""
    return np.asarray(tensor, tensor.dtype.newbyteorder("<"), order="C")


def rows_digest(rows: Rows) -> str:
    """The state digest, `sha256:<hex>`, of the state that has these rows.

    The tree is that of RFC 6962. Its first leaf says the format and the size of a chunk; then comes a leaf a tensor:
    name, element type, shape, and the root of the tree over its chunks' hashes, as canonical JSON.
    """
    header = canonical_json({"format": FORMAT, "chunk": CHUNK})
    return f"sha256:{merkle_root([header, *(row.leaf for row in rows)])}"


def state_digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """The digest of a state, `sha256:<hex>`."""
    return rows_digest(tensor_rows(tensors))


def first_difference(left: Rows, right: Rows) -> str | None:
    """The first tensor, in order of names, in which two states differ, and where in it; None where they don't."""
    ours, theirs = ({row.name: row for row in rows} for rows in (left, right))
    for name in sorted({*ours, *theirs}):
        a, b = ours.get(name), theirs.get(name)
        if a is None or b is None:
            return f"tensor {name!r} is in one of them only"
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return f"tensor {name!r} is {b.dtype} {b.shape} in place of {a.dtype} {a.shape}"
        if a.chunks != b.chunks:
            differing = (index for index, (x, y) in enumerate(zip_longest(a.chunks, b.chunks)) if x != y)
            return f"tensor {name!r} differs in its bytes from {next(differing) * CHUNK} on"
    return None


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    data = array.reshape(-1).view(np.uint8)
    yield from (data[start : start + CHUNK] for start in range(0, len(data), CHUNK))


def _sha256(chunk: NDArray[np.uint8]) -> str:
    return hashlib.sha256(chunk.data).hexdigest()  # without the interpreter's lock, so threads hash side by side
