"""The state digest: the name of a training state, over its tensors' bytes and never over a file.

Parameters and optimizer tensors both count: equal losses prove nothing, equal weights alone not enough. Each tensor is
cut into chunks of 1 MiB; the list of all names, element types, shapes and chunk hashes, as canonical JSON, is hashed.
So two lists show the first differing tensor and chunk, and one tensor can be checked without the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.canonical import canonical_json, sha256_digest

FORMAT = 1
CHUNK = 1 << 20
"""Bytes of a tensor that one hash covers."""


def tensor_list(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What is hashed: one row a tensor, sorted by name, with the hashes of its chunks (bare hex).

    Elements count as little-endian bytes in C order, whatever the array's layout in memory.
    """
    return {"format": FORMAT, "chunk": CHUNK, "tensors": [_row(name, tensors[name]) for name in sorted(tensors)]}


def state_digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """The digest of a state, `sha256:<hex>`."""
    return sha256_digest(canonical_json(tensor_list(tensors)))


def first_differing_tensor(left: Mapping[str, Any], right: Mapping[str, Any]) -> str | None:
    """The first name, in order, whose rows in two tensor lists differ; None where the lists are equal."""
    ours, theirs = ({row["name"]: row for row in each["tensors"]} for each in (left, right))
    return next((name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)), None)


def _row(name: str, tensor: NDArray[Any]) -> dict[str, Any]:
    little = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))
    data = little.tobytes()
    chunks = [hashlib.sha256(data[start : start + CHUNK]).hexdigest() for start in range(0, len(data), CHUNK)]
    return {"name": name, "dtype": tensor.dtype.name, "shape": list(tensor.shape), "chunks": chunks}
