"""`batch(step)`: the records of one step, a pure function of (snapshot, seed, step, batch size)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from reprise_trainer.canonical import canonical_json
from reprise_trainer.data.augment import Augmentation
from reprise_trainer.data.order import Indices, Order
from reprise_trainer.data.shard_order import TOGETHER, records_per_shard
from reprise_trainer.data.shelf import Shelf
from reprise_trainer.data.snapshot import OpenSnapshot, RecordField, Shard, Snapshot
from reprise_trainer.errors import InputError

Fields = Mapping[str, NDArray[np.generic]]
"""Field name → array of shape (records, *field shape)."""

OrderKind = Literal["auto", "whole", "windows", "shards"]

LARGE = 8 << 30
"""Bytes of a split from which on its order has two levels: what machines hold in memory without a thought."""

CHUNK_BYTES = 1 << 20
"""Bytes read together, about: a disk or a registry gives its full speed for them."""

WINDOW_CHUNKS = 128
"""Chunks whose records are permuted among each other: 128 MiB, which any machine keeps in memory."""


AHEAD_IN_ORDER = 3
"""Shards of a field that are brought before they are reached, where records are read in order."""


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


class BatchSource(Protocol):
    """Whatever gives the batch of a step, always the same one."""

    def batch(self, step: int) -> Batch:
        """The batch of `step` (0, 1, …)."""


class Batches:
    """The batches of one split of a snapshot, its shards mapped into memory.

    Args:
        source: a snapshot whose bytes were checked.
        split: which split.
        seed: the run's seed; it keys the order.
        batch_size: records a batch; batches may straddle epochs, so every batch has this many.
        order: `whole` permutes all records among each other, `windows` in two levels, so that reading stays
            sequential, `shards` too, with whole shards; `auto` takes windows where the split's shards have more than
            `LARGE` bytes.
        augmentation: what is drawn anew for each record and epoch; None changes nothing.
    """

    def __init__(
        self,
        source: OpenSnapshot,
        split: str,
        *,
        seed: int,
        batch_size: int,
        order: OrderKind = "auto",
        augmentation: Augmentation | None = None,
    ) -> None:
        self.records = source.snapshot.split(split).records
        self.batch_size = batch_size
        self._order = make_order(source.snapshot, split, seed, order)
        self._columns = open_columns(source, split)
        self._ahead = Ahead(source, split, self._order) if source.shelf and order == "shards" else None
        if source.shelf and self._ahead is None:
            source.shelf.bring(source.snapshot.split(split).shards)  # any of them may be next
        self._augmentation = augmentation
        scope: dict[str, Any] = {"batch": 1, "snapshot": source.digest, "split": split}
        if augmentation is not None:
            _require_image(source.snapshot.field(augmentation.field))
            scope |= {"augmentation": augmentation.as_json(), "seed": seed}
        self._scope = canonical_json(scope) + b"\n"

    def batch(self, step: int) -> Batch:
        """The batch of `step` (0, 1, …): positions step * B to (step + 1) * B - 1 of the endless stream."""
        start = step * self.batch_size
        if self._ahead is not None:
            self._ahead.at(start)
        records = self._order.records_at(start, self.batch_size)
        fields = {name: column.take(records) for name, column in self._columns.items()}
        # The snapshot's digest names every byte and was checked, so naming the records names their content.
        named = records.astype("<i8").tobytes()
        if self._augmentation is not None:
            epochs = np.arange(start, start + self.batch_size, dtype=np.int64) // self.records
            field = self._augmentation.field
            fields[field] = self._augmentation.apply(fields[field], self._order.seed, epochs, records)
            named += epochs.astype("<i8").tobytes()
        return Batch(step, records, fields, hashlib.sha256(self._scope + named).hexdigest())


def make_order(snapshot: Snapshot, split: str, seed: int, kind: OrderKind = "auto") -> Order:
    """The order of a split's records; see `Batches`. A pure function of the snapshot and the seed."""
    found = snapshot.split(split)
    size = sum(shard.size for shard in found.shards)
    if kind == "whole" or (kind == "auto" and size <= LARGE):
        return Order(seed, found.records)
    if kind == "shards":
        return Order(seed, found.records, records_per_shard(snapshot, split), TOGETHER)
    # A power of two, as the records of a shard are: a chunk never lies in two files.
    chunk = 1 << max(0, (CHUNK_BYTES * found.records // size).bit_length() - 1)
    return Order(seed, found.records, chunk, WINDOW_CHUNKS)


def _require_image(field: RecordField) -> None:
    if len(field.shape) not in (2, 3):
        raise InputError(f"data.augment: field {field.name!r} has shape {field.shape}, which is no image's")


class Ahead:
    """Has the shards brought that a split's order reads now and next; it decides when they come, and nothing else."""

    def __init__(self, source: OpenSnapshot, split: str, order: Order) -> None:
        assert source.shelf is not None
        self._shelf, self._order = source.shelf, order
        shards = source.snapshot.split(split).shards
        self._fields = [[each for each in shards if each.field == field.name] for field in source.snapshot.fields]
        self._window = (-1, -1)

    def at(self, position: int) -> None:
        """The stream is read at `position`. Threads that say so at once ask for the same twice, which costs nothing."""
        windows = self._order.windows_from(position)
        if windows[0] != self._window:
            self._window = windows[0]
            chunks = [chunk for window in windows for chunk in self._order.chunks_of(*window)]
            self._shelf.bring(shards[chunk] for chunk in chunks for shards in self._fields)


class Arrays(Protocol):
    """The arrays of a field's shards, in record order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.generic]: ...


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a split: its shards' arrays in record order, and the first record of each."""

    shards: Arrays
    starts: Indices

    def take(self, records: Indices) -> NDArray[np.generic]:
        """The field of `records` (int64, any order, at least one), shape (len(records), *field shape)."""
        if len(self.shards) == 1:
            return np.asarray(self.shards[0][records])
        owner = np.searchsorted(self.starts, records, side="right") - 1
        result: NDArray[np.generic] | None = None
        for index in np.unique(owner).tolist():
            mine, shard = np.flatnonzero(owner == index), self.shards[index]
            if result is None:
                result = np.empty((len(records), *shard.shape[1:]), shard.dtype)
            result[mine] = shard[records[mine] - self.starts[index]]
        assert result is not None
        return result


def open_columns(source: OpenSnapshot, split: str, *, in_order: bool = False) -> dict[str, Column]:
    """Field name → column of one split, read-only and mapped into memory.

    Args:
        in_order: records will be taken in their own order, so shards that come while they are read can come ahead.
    """
    shards = source.snapshot.split(split).shards
    return {
        field.name: _open_column(source, field, [each for each in shards if each.field == field.name], in_order)
        for field in source.snapshot.fields
    }


def _open_column(source: OpenSnapshot, field: RecordField, shards: list[Shard], in_order: bool) -> Column:
    starts = np.cumsum([0, *(shard.records for shard in shards[:-1])], dtype=np.int64)
    if source.shelf is not None:
        return Column(_FedArrays(source.shelf, field, shards, AHEAD_IN_ORDER if in_order else 0), starts)
    mapped = [np.memmap(source.folder / shard.path, np.uint8, mode="r") for shard in shards]
    arrays = (_as_array(data, field, shard.records) for data, shard in zip(mapped, shards, strict=True))
    return Column(tuple(arrays), starts)


@dataclass(frozen=True, slots=True)
class _FedArrays:
    """Arrays that come when they are asked for, with as many of the next as `ahead` says."""

    shelf: Shelf
    field: RecordField
    shards: Sequence[Shard]
    ahead: int

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int, /) -> NDArray[np.generic]:
        shard = self.shards[index]
        self.shelf.bring(self.shards[index : index + 1 + self.ahead])
        return _as_array(np.frombuffer(self.shelf.get(shard), np.uint8), self.field, shard.records)


def _as_array(data: NDArray[np.uint8], field: RecordField, records: int) -> NDArray[np.generic]:
    values = data.view(np.dtype(field.dtype).newbyteorder("<"))
    if field.stride is None:
        return values.reshape(records, *field.shape)
    return sliding_window_view(values, field.shape[0])[:: field.stride]
