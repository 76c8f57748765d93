"""The registry of runs: listed from the store, and each traced back to its raw data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_image import Entry, make_image
from tests.audit.conftest import OTHER, STATE

from reprise.build import LOCK_TYPE
from reprise.environments import ENVIRONMENT_FILE, LOCK_FILES
from reprise.kept_runs import RUN_TYPE
from reprise.lock.read import read_lock
from reprise.runs import find_run, lineage, run_reference, stored_runs
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.data.snapshot import RecordField, Shard, Snapshot, Source, Split, encode_snapshot, shards_root
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE

CHECKOUT = Path(__file__).parents[2]


def keep(store: Store, made: Any, **changes: Any) -> str:
    """Put a run's record into the store, as a run leaves it; the artifact's digest."""
    image = make_image(store, {"base": {"etc/name": Entry(b"x")}}).digest
    facts = {"digest": image, "files": 1, "bytes_hashed": 1, "milliseconds": 1}
    record = made.evidence(image=facts, **changes).record
    return store.attach(image, RUN_TYPE, [(RECORD_FILE, "application/json", record)])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_runs_are_listed_the_newest_first(store: Store, run: Any) -> None:
    older = keep(store, run, run="first", finished="2026-01-31T12:30:00Z", metrics={"accuracy": "0.5000"})
    newer = keep(store, run, run="second", finished="2026-02-01T00:00:00Z")
    found = stored_runs(store)
    assert [each.digest for each in found] == [newer, older]
    assert found[1].row() == (
        "first",
        "2026-01-31T12:30:00Z",
        "fashion-mnist",
        "portable",
        "torch",
        "0.5000",
        STATE[:19],
    )


def test_a_damaged_record_silences_no_other(store: Store, run: Any) -> None:
    good = keep(store, run)
    image = store.manifest(good)["subject"]["digest"]
    store.attach(image, RUN_TYPE, [(RECORD_FILE, "application/json", b"{}")])
    assert [each.digest for each in stored_runs(store)] == [good]


def test_a_run_is_found_by_its_beginning_alone_if_that_is_one(store: Store, run: Any) -> None:
    digest = keep(store, run, run="alpha-1")
    keep(store, run, run="alpha-2")
    assert find_run(store, "alpha-1").digest == find_run(store, digest).digest == digest
    with pytest.raises(InputError, match="'alpha' begins 2 runs: alpha-"):
        find_run(store, "alpha")
    again = keep(store, run, run="alpha-1", metrics={"accuracy": "0.7500"})  # its record was signed once more
    with pytest.raises(InputError, match="'alpha-1' begins 2 runs: alpha-1") as both:
        find_run(store, "alpha-1")
    for each in (digest, again):
        assert each[:19] in str(both.value) and find_run(store, each[:19]).digest == each
    with pytest.raises(NotFoundError, match="no run 'beta'"):
        find_run(store, "beta")


def test_an_audit_takes_a_run_by_its_place_its_id_or_its_digest(store: Store, run: Any, tmp_path: Path) -> None:
    digest = keep(store, run, run="alpha-1")
    assert run_reference("alpha-1", store) == run_reference(digest, store) == digest
    assert run_reference(str(tmp_path), store) == tmp_path
    with pytest.raises(NotFoundError, match=r"no folder or file runs/beta, and the store .* has no run 'runs/beta'"):
        run_reference("runs/beta", store)


def small_snapshot(store: Store) -> str:
    """A snapshot's document in the store, made from one artifact that the store holds too."""
    raw = store.add(b"raw").removeprefix("sha256:")
    data = sha256_digest(b"\0").removeprefix("sha256:")
    shard = Shard(path="shards/a", field="label", sha256=data, records=1, size=1)
    splits = {"train": Split(records=1, shards=(shard,))}
    document = Snapshot(
        name="small",
        fields=(RecordField(name="label", dtype="uint8", shape=()),),
        splits=splits,
        root=shards_root(splits),
        sources=(Source(artifact="pkg:generic/raw@1", sha256=raw),),
        licence="CC0-1.0",
    )
    return store.add(encode_snapshot(document))


def test_lineage_leads_from_the_raw_data_to_the_record(store: Store, run: Any) -> None:
    files = {name: (CHECKOUT / "locks/torch-cpu" / name).read_bytes() for name in LOCK_FILES}
    environment = CHECKOUT / "containers/images/torch-cpu.toml"
    files[ENVIRONMENT_FILE] = environment.read_bytes()
    lock = read_lock(CHECKOUT / "locks/torch-cpu", environment).digest
    snapshot = small_snapshot(store)
    digest = keep(store, run, lock=lock, snapshot=snapshot)
    things = {each.what: each for each in lineage(find_run(store, digest), store)}
    assert things["lock"].name == lock and not things["lock"].held
    image = things["image"].name
    store.attach(image, LOCK_TYPE, [(name, "application/json", data) for name, data in files.items()])
    things = {each.what: each for each in lineage(find_run(store, digest), store)}
    assert (things["raw data 1"].name, things["raw data 1"].held) == ("pkg:generic/raw@1", True)
    assert things["snapshot"].follows_from == ("raw data 1",) and things["snapshot"].held
    assert things["lock"].held and things["trainer source"].name == OTHER and not things["trainer source"].held
    assert things["ledger"].follows_from == ("snapshot", "image", "configuration")
    assert things["state after step 3"].name == STATE
    seen: set[str] = set()
    for each in things.values():  # each comes after what it follows from
        assert set(each.follows_from) <= seen, each
        seen.add(each.what)
    json.dumps([each.as_json() for each in things.values()])
