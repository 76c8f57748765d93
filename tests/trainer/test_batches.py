"""`batch(step)` is a pure function of snapshot, seed and step."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.trainer.conftest import RECORDS, environment

from reprise_trainer.data.batches import Batches, Column
from reprise_trainer.data.snapshot import OpenSnapshot


def open_batches(snapshot: OpenSnapshot, *, seed: int = 1, batch_size: int = 32) -> Batches:
    return Batches(snapshot, "train", seed=seed, batch_size=batch_size)


def test_a_batch_is_the_same_in_any_order_of_asking(snapshot: OpenSnapshot) -> None:
    first, second = open_batches(snapshot), open_batches(snapshot)
    forwards = [first.batch(step) for step in range(25)]
    for step in reversed(range(25)):
        again = second.batch(step)
        assert again.digest == forwards[step].digest
        for name, column in again.fields.items():
            assert np.array_equal(column, forwards[step].fields[name])


def test_an_epoch_holds_every_record_once(snapshot: OpenSnapshot) -> None:
    records = RECORDS["train"]
    stream = np.concatenate([open_batches(snapshot).batch(step).records for step in range(2 * records // 32 + 1)])
    for epoch in range(2):
        assert sorted(stream[epoch * records : (epoch + 1) * records]) == list(range(records))


def test_every_batch_has_the_same_shape_across_the_end_of_an_epoch(snapshot: OpenSnapshot) -> None:
    batches = open_batches(snapshot, batch_size=64)  # 300 is not a multiple
    shapes = {tuple(column.shape for column in batches.batch(step).fields.values()) for step in range(12)}
    assert shapes == {((64, 28, 28), (64,))}


def test_a_batch_may_be_larger_than_the_split(snapshot: OpenSnapshot) -> None:
    assert len(open_batches(snapshot, batch_size=1024).batch(3).records) == 1024


def test_shards_are_the_batch_cut_in_order(snapshot: OpenSnapshot) -> None:
    batch = open_batches(snapshot).batch(5)
    shards = [batch.shard(index, 4)["label"] for index in range(4)]
    assert [len(shard) for shard in shards] == [8] * 4
    assert np.array_equal(np.concatenate(shards), batch.fields["label"])


def test_digests_tell_records_snapshots_and_splits_apart(snapshot: OpenSnapshot) -> None:
    digests = {
        open_batches(snapshot).batch(0).digest,
        open_batches(snapshot).batch(1).digest,
        open_batches(snapshot, seed=2).batch(0).digest,
        open_batches(replace(snapshot, digest="sha256:" + "0" * 64)).batch(0).digest,
        Batches(snapshot, "test", seed=1, batch_size=32).batch(0).digest,
    }
    assert len(digests) == 5


def test_a_column_of_many_shards_is_as_one() -> None:
    values = np.arange(1000, dtype=np.int32)
    cuts = [0, 1, 130, 131, 700]
    many = Column(tuple(np.split(values, cuts[1:])), np.array(cuts))
    asked = np.random.default_rng(0).integers(0, 1000, 5000)
    assert np.array_equal(many.take(asked), values[asked])


def test_a_large_split_is_read_in_windows_with_bounded_memory(tmp_path: Path) -> None:
    # In a process of its own: what is measured is its private memory, which mapped shards are not part of.
    script = """
import sys
from pathlib import Path
import numpy as np
from reprise.ingest.rows import Reading, Rows
from reprise.ingest.write import write_snapshot
from reprise_trainer.config.data import FashionMnistSection
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.prefetch import prefetched
from reprise_trainer.data.snapshot import RecordField, Source, open_snapshot

folder, mebibytes = Path(sys.argv[1]), int(sys.argv[2])
field = RecordField(name="image", dtype="uint8", shape=(1 << 16,))
def rows():
    for number in range(16 * mebibytes):
        yield Rows("made", [number], {"image": number.to_bytes(4, "little") * (1 << 14)})
rules = FashionMnistSection(name="large", file="made", sha256="0" * 64)
write_snapshot(folder, Reading((field,), {"train": rows()}), rules, [Source(artifact="pkg:generic/x", sha256="0" * 64)])
batches = Batches(open_snapshot(folder), "train", seed=1, batch_size=16, order="windows")
def private():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])
before, most, seen = private(), 0, []
for batch in prefetched(batches.batch, range(mebibytes), 2):
    seen += batch.fields["image"][:, :4].copy().view("<u4").ravel().tolist()
    most = max(most, private() - before)
assert sorted(seen) == list(range(16 * mebibytes))
print(most)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "large"), "64"]
    done = subprocess.run(command, env=environment(), check=True, capture_output=True, text=True)
    assert int(done.stdout) < 24 * 1024, "KiB; the batches that wait have 1 MiB each, the split has 64"
