"""The order `shards`: whole shards are permuted, and the records of a few at a time among each other.

Reading then goes through a few files at a time, each whole, so that shards can come from a registry one after another.
Arithmetic on a snapshot's document alone: the host uses it too.
"""

from __future__ import annotations

from reprise_trainer.data.snapshot import Snapshot
from reprise_trainer.errors import InputError

TOGETHER = 8
"""Shards of each field whose records are permuted among each other: 128 MiB where a shard has 16."""

_WINDOWS = 3
"""Windows that a cache has room for: the one that is read, the one before (threads that make batches ahead are not all
at the same step), and the one that is brought meanwhile."""


def records_per_shard(snapshot: Snapshot, split: str) -> int:
    """Records of every shard of a split but the last of each field, which may have fewer.

    Raises:
        InputError: they differ, so that a cut does not go through all fields.
    """
    cuts = {
        tuple(shard.records for shard in snapshot.split(split).shards if shard.field == field.name)
        for field in snapshot.fields
    }
    records = next(iter(cuts))[0]
    if len(cuts) > 1 or any(each != records for cut in cuts for each in cut[:-1]) or max(map(max, cuts)) > records:
        raise InputError(
            f'data.order = "shards": shards of split {split!r} of {snapshot.name!r} hold different numbers of records',
            hint='Make the snapshot again (`reprise ingest`), or use data.order = "windows".',
        )
    return records


def room_needed(snapshot: Snapshot, split: str, order: str) -> int:
    """Bytes of shards that must fit on a disk for each to be brought about once an epoch.

    Args:
        order: as `data.order` says; all but `shards` read records from all over the split.

    Raises:
        InputError: see `records_per_shard`.
    """
    shards = snapshot.split(split).shards
    whole = sum(shard.size for shard in shards)
    if order != "shards":
        return whole
    records_per_shard(snapshot, split)
    largest = [max(each.size for each in shards if each.field == field.name) for field in snapshot.fields]
    return min(whole, _WINDOWS * TOGETHER * sum(largest))
