"""A snapshot goes through a registry like everything else, and is the same one on the other side."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.ingest.test_splits import FIELDS, SOURCE, rows

from reprise.ingest.rows import Reading
from reprise.ingest.write import write_snapshot
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.snapshots import StoredSnapshot, keep_snapshot, prepare_snapshot
from reprise.store import Store
from reprise_trainer.config.data import FashionMnistSection, StoreSection
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import open_snapshot
from reprise_trainer.errors import InputError


def test_a_pulled_snapshot_gives_the_same_batches(host: str, tmp_path: Path) -> None:
    rules = FashionMnistSection(name="numbers", file="numbers.csv", sha256="0" * 64)
    reading = Reading(FIELDS, {"train": [rows(list(range(400)))]})
    made = write_snapshot(tmp_path / "made", reading, rules, [SOURCE])
    ours, theirs = Store.open(tmp_path / "ours"), Store.open(tmp_path / "theirs")
    artifact = keep_snapshot(StoredSnapshot(made.digest, tmp_path / "made"), ours)
    where = parse_reference(f"{host}/team/numbers:1")
    push(ours, artifact, where)
    pull(where, theirs)

    wanted = StoreSection(kind="store", name="numbers", snapshot=made.digest)
    pulled = prepare_snapshot(wanted, theirs)
    here, there = open_snapshot(tmp_path / "made"), open_snapshot(pulled.folder, expected=made.digest)
    batches = [Batches(each, "train", seed=1, batch_size=64).batch(9) for each in (here, there)]
    assert batches[0].digest == batches[1].digest
    assert batches[0].fields["image"].tobytes() == batches[1].fields["image"].tobytes()

    shard = theirs.path(f"sha256:{made.snapshot.shards()[0].sha256}")
    (pulled.folder / made.snapshot.shards()[0].path).unlink()
    shard.unlink()
    shard.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"a shard in the store .* is damaged"):
        prepare_snapshot(wanted, theirs)
