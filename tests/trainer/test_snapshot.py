"""Snapshots: whole or absent, checked byte for byte, and strict about what goes in."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from pathlib import Path

import pytest
from tests.trainer.conftest import RECORDS, ingest

from reprise.ingest.fashion_mnist import SPLIT_FILES
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.data.snapshot import OpenSnapshot, decode_snapshot, encode_snapshot, open_snapshot
from reprise_trainer.errors import InputError, NotFoundError, RefusedError, StorageError

IMAGES, LABELS = SPLIT_FILES["train"]
GOLDEN = "sha256:4a19978db41a46670d4749e8dfcd5b0f6a3d03d625ec17ea0598d698fc12d8fe"


@pytest.fixture
def copy(snapshot: OpenSnapshot, tmp_path: Path) -> Path:
    """The snapshot's folder, free to be damaged."""
    return Path(shutil.copytree(snapshot.folder, tmp_path / "copy"))


def test_the_same_files_give_the_same_snapshot(files: dict[str, bytes], snapshot: OpenSnapshot, tmp_path: Path) -> None:
    assert ingest(files, tmp_path / "again") == snapshot.digest == GOLDEN


def test_the_digest_is_that_of_the_document(snapshot: OpenSnapshot) -> None:
    document = (snapshot.folder / "snapshot.json").read_bytes()
    assert sha256_digest(document) == snapshot.digest
    assert encode_snapshot(decode_snapshot(document)) == document
    assert json.loads(document)["splits"]["train"]["records"] == RECORDS["train"]


def test_the_bytes_are_those_of_the_files(files: dict[str, bytes], snapshot: OpenSnapshot) -> None:
    shards = [shard for shard in snapshot.snapshot.split("train").shards if shard.field == "image"]
    stored = b"".join((snapshot.folder / shard.path).read_bytes() for shard in shards)
    assert stored == gzip.decompress(files[IMAGES])[16:]


def test_a_flipped_bit_in_any_shard_is_named(snapshot: OpenSnapshot, copy: Path) -> None:
    for shard in (shard for split in snapshot.snapshot.splits.values() for shard in split.shards):
        path = copy / shard.path
        original = path.read_bytes()
        path.write_bytes(original[:-1] + bytes([original[-1] ^ 0x80]))
        with pytest.raises(RefusedError, match=shard.path):
            open_snapshot(copy, expected=snapshot.digest)
        path.write_bytes(original)
    open_snapshot(copy, expected=snapshot.digest)


def test_a_cut_shard_a_missing_one_and_another_snapshot_are_told_apart(snapshot: OpenSnapshot, copy: Path) -> None:
    shard = copy / snapshot.snapshot.split("test").shards[0].path
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RefusedError, match="bytes, its snapshot says"):
        open_snapshot(copy)
    shard.unlink()
    with pytest.raises(NotFoundError, match=r"test-00000"):
        open_snapshot(copy)
    with pytest.raises(RefusedError, match="expected sha256:0000"):
        open_snapshot(copy, expected="sha256:" + "0" * 64)
    with pytest.raises(NotFoundError):
        open_snapshot(copy / "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format=1),
        lambda document: document.update(extra=1),
        lambda document: document["splits"]["train"].update(records=301),
        lambda document: document["splits"]["train"]["shards"][0].update(path="shards/../../etc/passwd"),
        lambda document: document["splits"]["train"]["shards"][0].update(path="/etc/passwd"),
        lambda document: document["splits"]["train"]["shards"][0].update(bytes=1),
        lambda document: document["splits"]["train"]["shards"][0].update(field="other"),
        lambda document: document["splits"]["train"]["shards"].pop(),
        lambda document: document["schema"].clear(),
        lambda document: document.update(root="0" * 64),
        lambda document: document["splits"]["train"]["counts"]["label"].append(0),
        lambda document: document.update(groups=["image"]),
        lambda document: document["sources"][0].update(sha256="0"),
    ],
)
def test_a_document_that_does_not_add_up_is_refused(snapshot: OpenSnapshot, change) -> None:  # type: ignore[no-untyped-def]
    document = json.loads((snapshot.folder / "snapshot.json").read_bytes())
    change(document)
    with pytest.raises(InputError):
        decode_snapshot(json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def test_a_document_in_another_form_is_refused(snapshot: OpenSnapshot) -> None:
    with pytest.raises(InputError, match="canonical"):
        decode_snapshot((snapshot.folder / "snapshot.json").read_bytes() + b"\n")


def packed(magic: int, shape: tuple[int, ...], body: bytes) -> bytes:
    return gzip.compress(struct.pack(f">{1 + len(shape)}I", magic, *shape) + body)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (LABELS, b"not gzip", "not a gzip file"),
        (LABELS, packed(0x801, (300,), bytes(300))[:-9], "cut short"),
        (LABELS, gzip.compress(b"abc"), "magic number"),
        (LABELS, packed(0x803, (300,), bytes(300)), "bytes after the header, expected 0"),
        (LABELS, packed(0x801, (299,), bytes(299)), r"shape is \(299,\) of uint8, expected \(300,\)"),
        (LABELS, packed(0x801, (300,), bytes(299)), "299 bytes after the header"),
        (LABELS, packed(0x801, (300,), bytes(5) + b"\x0a" + bytes(294)), "row 5: label is 10, expected 0 to 9"),
        (IMAGES, packed(0x803, (300, 28, 27), bytes(300 * 28 * 27)), r"expected \(300, 28, 28\)"),
    ],
)
def test_a_wrong_file_is_named_and_nothing_is_left(
    files: dict[str, bytes], tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        ingest({**files, name: data}, tmp_path / "new" / "snapshot")
    assert not list((tmp_path / "new").glob("*"))


def test_a_missing_file_is_named(files: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{LABELS}: the file is missing"):
        ingest({name: data for name, data in files.items() if name != LABELS}, tmp_path / "new")


def test_a_snapshot_is_never_written_over(files: dict[str, bytes], copy: Path) -> None:
    with pytest.raises(StorageError, match="exists already"):
        ingest(files, copy)


def test_a_full_disk_leaves_nothing(files: dict[str, bytes], small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(bytes(4 * 2**20 - 200_000))
    with pytest.raises(StorageError, match="No space left"):
        ingest(files, small_disk / "snapshot")
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
