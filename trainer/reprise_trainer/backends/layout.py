"""Where each parameter lies in the one flat float32 vector that a state, a gradient or a moment is.

One vector makes an update a few operations, whatever the number of parameters, and a message between workers one
buffer. Each parameter starts at a multiple of 64 bytes, as if it were allocated alone: kernels choose their path by
alignment. The gaps are zero, and every rule keeps them so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 16
"""Elements (64 bytes): a cache line, and the widest vector of x86-64."""


@dataclass(frozen=True, slots=True)
class Place:
    """A parameter's name, its shape, its first element and the element after its last."""

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The places in order, and the vector's length in elements."""

    places: tuple[Place, ...]
    size: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {place.name: place.shape for place in self.places}

    @property
    def gaps(self) -> list[int]:
        """How many elements lie between each place's last and the next one's first, or the vector's end."""
        nexts = [*(place.start for place in self.places[1:]), self.size]
        return [start - place.stop for place, start in zip(self.places, nexts, strict=True)]

    def pack(self, values: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The vector that holds `values` (parameter name → array of its shape); new memory."""
        vector = np.zeros(self.size, np.float32)
        for place in self.places:
            vector[place.start : place.stop] = np.asarray(values[place.name], np.float32).reshape(-1)
        return vector

    def views(self, vector: Any) -> dict[str, Any]:
        """Parameter name → its part of `vector` (any framework's), in its shape."""
        return {place.name: vector[place.start : place.stop].reshape(place.shape) for place in self.places}

    def bit_sums(self, vector: NDArray[np.float32]) -> dict[str, int]:
        """Parameter name → the sum of its elements' bits in `vector`, read as int32: whatever order it is added in, it
        is the same number."""
        filled = [place for place in self.places if place.stop > place.start]
        bits = vector.view(np.int32)
        sums = np.add.reduceat(bits, [place.start for place in filled], dtype=np.int64).tolist()  # a gap adds 0
        found = dict(zip((place.name for place in filled), sums, strict=True))
        return {place.name: found.get(place.name, 0) for place in self.places}


def layout_of(shapes: Mapping[str, tuple[int, ...]]) -> Layout:
    """The layout of parameters of these shapes, in their order."""
    places, position = [], 0
    for name, shape in shapes.items():
        stop = position + math.prod(shape)
        places.append(Place(name, shape, position, stop))
        position = -(-stop // ALIGNMENT) * ALIGNMENT
    return Layout(tuple(places), position)
