"""`batch(step)`: the records of one step, a pure function of (snapshot, seed, step, batch size)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reprise_trainer.canonical import canonical_json
from reprise_trainer.data.order import Indices, records_at
from reprise_trainer.data.snapshot import OpenSnapshot, RecordField, Shard

Fields = Mapping[str, NDArray[np.generic]]
"""Field name → array of shape (records, *field shape)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one step. `records` is int64 of shape (batch size,); `digest` is the batch's, bare hex."""

    step: int
    records: Indices
    fields: Fields
    digest: str

    def shard(self, index: int, shards: int) -> Fields:
        """Logical shard `index` of `shards`: a contiguous slice, the same shape for each index.

        `shards` must divide the batch size.
        """
        size = len(self.records) // shards
        return {name: column[index * size : (index + 1) * size] for name, column in self.fields.items()}


class Batches:
    """The batches of one split of a snapshot, its shards mapped into memory.

    Args:
        source: a snapshot whose bytes were checked.
        split: which split.
        seed: the run's seed; it keys the order.
        batch_size: records a batch; batches may straddle epochs, so every batch has this many.
    """

    def __init__(self, source: OpenSnapshot, split: str, *, seed: int, batch_size: int) -> None:
        self.records = source.snapshot.split(split).records
        self.batch_size = batch_size
        self._seed = seed
        self._columns = open_columns(source, split)
        self._scope = canonical_json({"batch": 1, "snapshot": source.digest, "split": split}) + b"\n"

    def batch(self, step: int) -> Batch:
        """The batch of `step` (0, 1, …): positions step * B to (step + 1) * B - 1 of the endless stream."""
        records = records_at(self._seed, self.records, step * self.batch_size, self.batch_size)
        # The snapshot's digest names every byte and was checked, so naming the records names their content.
        digest = hashlib.sha256(self._scope + records.astype("<i8").tobytes()).hexdigest()
        fields = {name: column.take(records) for name, column in self._columns.items()}
        return Batch(step, records, fields, digest)


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a split: its shards' arrays in record order, and the first record of each."""

    shards: tuple[NDArray[np.generic], ...]
    starts: Indices

    def take(self, records: Indices) -> NDArray[np.generic]:
        """The field of `records` (int64, any order), shape (len(records), *field shape)."""
        if len(self.shards) == 1:
            return np.asarray(self.shards[0][records])
        result = np.empty((len(records), *self.shards[0].shape[1:]), self.shards[0].dtype)
        owner = np.searchsorted(self.starts, records, side="right") - 1
        for index, shard in enumerate(self.shards):
            mine = np.flatnonzero(owner == index)
            result[mine] = shard[records[mine] - self.starts[index]]
        return result


def open_columns(source: OpenSnapshot, split: str) -> dict[str, Column]:
    """Field name → column of one split, read-only and mapped into memory."""
    shards = source.snapshot.split(split).shards
    return {
        field.name: _open_column(source.folder, field, [shard for shard in shards if shard.field == field.name])
        for field in source.snapshot.fields
    }


def _open_column(folder: Path, field: RecordField, shards: list[Shard]) -> Column:
    arrays = tuple(_open_shard(folder / shard.path, field, shard.records) for shard in shards)
    starts = np.cumsum([0, *(shard.records for shard in shards[:-1])], dtype=np.int64)
    return Column(arrays, starts)


def _open_shard(path: Path, field: RecordField, records: int) -> NDArray[np.generic]:
    dtype = np.dtype(field.dtype).newbyteorder("<")
    if field.stride is None:
        return np.memmap(path, dtype, mode="r", shape=(records, *field.shape))
    tokens = np.memmap(path, dtype, mode="r")
    return sliding_window_view(tokens, field.shape[0])[:: field.stride]
