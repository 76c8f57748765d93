"""The store: whole blobs or none, one owner a tag, safe for several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.store import Store
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError, NotFoundError, StorageError


def a_manifest(number: int) -> bytes:
    return canonical_json({"schemaVersion": 2, "number": number})


def test_a_blob_comes_back_as_it_went_in(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    digest = store.add(b"some bytes")
    assert digest == sha256_digest(b"some bytes")
    assert Store.open(tmp_path).read(digest) == b"some bytes"


def test_a_damaged_blob_is_named_and_not_returned(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    digest = store.add(b"some bytes")
    store.path(digest).write_bytes(b"some bytez")
    with pytest.raises(InputError, match=f"{digest}.*damaged"):
        store.read(digest)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"7", b'{"manifests":[{}]}', b'{"manifests":7}', b"\xff", None])
def test_a_damaged_index_is_named(damage: bytes | None, tmp_path: Path) -> None:
    Store.open(tmp_path)
    index = tmp_path / "index.json"
    index.unlink() if damage is None else index.write_bytes(damage)
    with pytest.raises(InputError, match=r"index\.json is missing or damaged"):
        Store.open(tmp_path).listed()


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="not empty and not a store"):
        Store.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_store_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no store"):
        Store.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()


@settings(max_examples=50, deadline=None)
@given(moves=st.lists(st.tuples(st.sampled_from(["env", "other", None]), st.integers(0, 3)), max_size=12))
def test_a_tag_names_the_manifest_that_got_it_last(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str | None, int]]
) -> None:
    store = Store.open(tmp_path_factory.mktemp("store"))
    last: dict[str, str] = {}
    for tag, number in moves:
        digest = store.put_manifest(a_manifest(number), tag=tag)
        if tag:
            last[tag] = digest
    for tag, digest in last.items():
        assert store.resolve(tag) == digest
    listed = [entry["digest"] for entry in json.loads((store.root / "index.json").read_bytes())["manifests"]]
    assert set(listed) == set(store.listed()) == {sha256_digest(a_manifest(number)) for _, number in moves}
    assert len(listed) == len(store.listed()) + max(0, len(last) - len(set(last.values())))  # an entry a further tag


def test_putting_the_same_manifest_again_writes_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put_manifest(a_manifest(1), tag="env")
    before = (tmp_path / "index.json").stat().st_mtime_ns
    store.put_manifest(a_manifest(1), tag="env")
    assert (tmp_path / "index.json").stat().st_mtime_ns == before


def test_an_artifact_is_found_by_its_subject(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    subject, stranger = store.put_manifest(a_manifest(1)), store.put_manifest(a_manifest(2))
    attached = store.attach(subject, "application/x.test", [("lock.json", "application/json", b"{}")])
    assert [manifest["digest"] for manifest in store.referrers(subject, "application/x.test")] == [attached]
    assert store.referrers(stranger) == []
    assert store.files(attached) == {"lock.json": b"{}"}


def _put_many(root: Path, first: int) -> None:
    store = Store.open(root)
    for number in range(first, first + 25):
        store.put_manifest(a_manifest(number))


def test_writers_at_once_lose_no_entry(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_put_many, args=(tmp_path, first)) for first in (0, 100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    index = json.loads((tmp_path / "index.json").read_bytes())
    assert len(index["manifests"]) == 75


def test_a_writer_killed_at_any_moment_leaves_a_whole_store(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from reprise.store import Store\n"
        "store = Store.open(Path(sys.argv[1]))\n"
        "print('on', flush=True)\n"
        "for n in range(10**9): store.put_manifest(b'{\"n\":%d}' % n, tag='env')\n"
    )
    for delay in (0.0, 0.01, 0.02, 0.05, 0.1):
        writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        store = Store.open(tmp_path)
        for entry in json.loads((tmp_path / "index.json").read_bytes())["manifests"]:
            assert len(store.read(entry["digest"])) == entry["size"]
        assert all(sha256_digest(blob.read_bytes()) == f"sha256:{blob.name}" for blob in _blobs(store))


def _blobs(store: Store) -> list[Path]:
    return [path for path in (store.root / "blobs" / "sha256").iterdir() if not path.name.startswith(".")]


def test_a_full_disk_leaves_the_store_as_it_was(small_disk: Path) -> None:
    store = Store.open(small_disk / "store")
    kept = store.add(b"kept")
    with pytest.raises(StorageError, match="No space left"):
        store.add(os.urandom(8 << 20))
    assert [path.name for path in (store.root / "blobs" / "sha256").iterdir()] == [kept.removeprefix("sha256:")]
    assert store.read(kept) == b"kept"
