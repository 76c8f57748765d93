"""Random changes of images, drawn by (seed, epoch, record): the same whatever the batch, the worker or the backend."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.data.order import Indices
from reprise_trainer.data.philox import philox, stream_key

_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Shift and mirror the images of one field.

    Args:
        field: an image field: shape (height, width) or (height, width, channels).
        shift: largest shift in pixels along either axis, either way; what comes in is 0.
        flip: whether half of the images are mirrored left to right.
    """

    field: str
    shift: int = 0
    flip: bool = False

    def apply(self, images: NDArray[np.generic], seed: int, epochs: Indices, records: Indices) -> NDArray[np.generic]:
        """The images of `records`, changed as (seed, epoch, record) says.

        Args:
            images: shape (n, height, width, …).
            seed: the run's seed.
            epochs: int64 of shape (n,): the epoch in which each record stands.
            records: int64 of shape (n,).

        Returns:
            A new array of the same shape and type.
        """
        words = _words(seed, epochs, records)
        down, right = (_bounded(words[:, axis], 2 * self.shift + 1) - self.shift for axis in (0, 1))
        rows = np.arange(images.shape[1]) - down[:, None]
        columns = np.arange(images.shape[2]) - right[:, None]
        if self.flip:
            mirrored = (words[:, 2] >> np.uint32(31)).astype(bool)
            columns[mirrored] = images.shape[2] - 1 - columns[mirrored]
        inside = _inside(rows, images.shape[1])[:, :, None] & _inside(columns, images.shape[2])[:, None, :]
        which = np.arange(len(images))[:, None, None]
        row, column = rows.clip(0, images.shape[1] - 1), columns.clip(0, images.shape[2] - 1)
        moved: NDArray[np.generic] = images[which, row[:, :, None], column[:, None, :]]
        moved[~inside] = 0
        return moved

    def as_json(self) -> dict[str, str | int | bool]:
        """What decides the bytes, for the digest of a batch."""
        return asdict(self)


def _words(seed: int, epochs: Indices, records: Indices) -> NDArray[np.uint32]:
    """Four random words a record: Philox of the counter (record's low word, its high word, epoch, 0)."""
    counters = np.zeros((len(records), 4), np.uint32)
    unsigned = records.astype(np.uint64)
    counters[:, 0] = unsigned & _LOW
    counters[:, 1] = unsigned >> _SHIFT
    counters[:, 2] = epochs
    return philox(counters, stream_key(seed, "augment"))


def _bounded(words: NDArray[np.uint32], bound: int) -> Indices:
    """Words as numbers in [0, bound), by multiplication (Lemire, 2019); the bias is below bound / 2**32."""
    return ((words.astype(np.uint64) * np.uint64(bound)) >> _SHIFT).astype(np.int64)


def _inside(places: Indices, extent: int) -> NDArray[np.bool_]:
    return (places >= 0) & (places < extent)
