"""The conversation between trainer and launcher, and the shelf that keeps it short: right bytes, or words."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from oci_registry import Fault
from tests.feed.conftest import Fed, Launched, launched

from reprise_trainer.data import feed as feed_module
from reprise_trainer.data.batches import Batches, open_columns
from reprise_trainer.data.feed import LINE_LIMIT, Feed, encode_line, socket_address
from reprise_trainer.data.order import Order
from reprise_trainer.data.shelf import Shelf, open_fed_snapshot
from reprise_trainer.data.snapshot import open_snapshot
from reprise_trainer.errors import InputError, UnavailableError


def brings_a_shard(found: Launched, fed: Fed) -> bool:
    """Whether a new conversation gets the bytes that it asks for."""
    shard = fed.whole.snapshot.shards()[0]
    Feed(found.socket).bring(shard.path)
    return (found.snapshot.folder / shard.path).read_bytes() == (fed.whole.folder / shard.path).read_bytes()


def test_any_order_of_asking_gives_the_right_bytes_within_the_room(fed: Fed, tmp_path: Path) -> None:
    shards = fed.whole.snapshot.shards()
    room = 5 * max(shard.size for shard in shards)
    with launched(fed, tmp_path, room=fed.room()) as found:
        feed = Feed(found.socket)
        feed.room = room
        shelf = Shelf(found.snapshot.folder, feed)

        def reader(seed: int) -> None:
            asked = random.Random(seed)
            for _ in range(60):
                shelf.bring(asked.sample(shards, 2))
                shard = asked.choice(shards)
                assert bytes(shelf.get(shard)) == (fed.whole.folder / shard.path).read_bytes()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(reader, range(4)))
        most = found.most
        feed.close()
        deadline = time.monotonic() + 10
        while found.here() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found.here() == 0, "who leaves gives everything back"
    assert most <= room + 4 * 4 * max(shard.size for shard in shards), "what is being brought can't be removed yet"


def test_every_split_and_field_reads_as_from_a_folder(fed: Fed, tmp_path: Path) -> None:
    with launched(fed, tmp_path) as found:
        source = open_fed_snapshot(found.snapshot.folder, found.socket, expected=fed.whole.digest)
        for split, records in (("train", 600), ("test", 70)):
            ours, theirs = (open_columns(each, split, in_order=True) for each in (source, fed.whole))
            for name, column in ours.items():
                for start in range(0, records, 35):
                    asked = Order(0, records).records_at(start, 35)
                    assert column.take(asked).tobytes() == theirs[name].take(asked).tobytes()


def test_batches_come_from_the_shards_of_a_window_and_no_others(fed: Fed, tmp_path: Path) -> None:
    with launched(fed, tmp_path) as found:
        source = open_fed_snapshot(found.snapshot.folder, found.socket, expected=fed.whole.digest)
        batches = Batches(source, "train", seed=3, batch_size=16, order="shards")
        whole = Batches(fed.whole, "train", seed=3, batch_size=16, order="shards")
        for step in range(300):  # eight epochs
            ours, theirs = batches.batch(step), whole.batch(step)
            assert ours.digest == theirs.digest
            assert ours.fields["image"].tobytes() == theirs.fields["image"].tobytes()
    asked = sum(count for path, count in fed.asked().items() if "train" in path)
    assert asked < 7 * 2 * 38, "less than once an epoch: what was used last is still here (472; 575 without that rule)"


def test_the_next_window_comes_while_this_one_is_read(fed: Fed, tmp_path: Path) -> None:
    with launched(fed, tmp_path) as found:
        source = open_fed_snapshot(found.snapshot.folder, found.socket, expected=fed.whole.digest)
        batches = Batches(source, "train", seed=3, batch_size=16, order="shards")
        batches.batch(0)
        deadline = time.monotonic() + 10
        while len(fed.asked()) < 2 * 2 * 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        ahead = fed.asked()
        assert len(ahead) == 2 * 2 * 8, "two windows of eight shards of two fields"
        for step in range(1, 16):
            batches.batch(step)
        window_after = {path for path in fed.asked() if path not in ahead}
        assert len(window_after) <= 2 * 2 * 8


def test_what_was_asked_ahead_and_failed_is_asked_again(fed: Fed, tmp_path: Path) -> None:
    shard = fed.whole.snapshot.shards()[0]
    with launched(fed, tmp_path) as found:
        shelf = Shelf(found.snapshot.folder, Feed(found.socket))
        fed.registry.faults = [Fault("GET", "/blobs/", times=1, status=404)]
        shelf.bring([shard])
        while fed.registry.faults[0].times:
            time.sleep(0.01)
        time.sleep(0.2)
        assert bytes(shelf.get(shard)) == (fed.whole.folder / shard.path).read_bytes()


def test_a_name_that_is_no_shard_is_refused_and_nothing_else_happens(fed: Fed, tmp_path: Path) -> None:
    with launched(fed, tmp_path) as found:
        feed = Feed(found.socket)
        for name in ("shards/none.bin", "../../store/index.json", "snapshot.json", ""):
            with pytest.raises(InputError, match="has no shard"):
                feed.bring(name)
            feed.done(name)
        feed.bring(fed.whole.snapshot.shards()[0].path)
        assert (found.snapshot.folder / "snapshot.json").exists()


@pytest.mark.parametrize(
    "sent",
    [b"\n", b"[]\n", b"{\n", b'{"need": 5}\n{"done": []}\n{"need": null', b"x" * (LINE_LIMIT + 1), os.urandom(99)],
    ids=["empty", "list", "half", "other types", "long", "noise"],
)
def test_a_stranger_at_the_socket_ends_no_conversation_but_its_own(fed: Fed, tmp_path: Path, sent: bytes) -> None:
    with launched(fed, tmp_path) as found:
        with socket.socket(socket.AF_UNIX) as stranger, socket_address(found.socket) as address:
            stranger.connect(address)
            stranger.sendall(sent)
        assert brings_a_shard(found, fed)


def answering(path: Path, serve: Callable[[socket.socket], None]) -> threading.Thread:
    """A launcher that says what `serve` says to the first who calls."""
    listening = socket.socket(socket.AF_UNIX)
    with socket_address(path) as address:
        listening.bind(address)
    listening.listen()

    def once() -> None:
        with listening, listening.accept()[0] as connection:
            serve(connection)

    thread = threading.Thread(target=once, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "it ended"),
        (b"nonsense\n", "does not speak our language"),
        (b"5\n", "does not speak our language"),
        (b"x" * (LINE_LIMIT + 1), "a line is too long"),
    ],
)
def test_a_launcher_that_talks_nonsense_is_one_message(tmp_path: Path, answer: bytes, said: str) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(encode_line({"room": 1}))
        connection.recv(100)
        connection.sendall(answer)

    answering(tmp_path / "socket", serve)
    feed = Feed(tmp_path / "socket")
    with pytest.raises(UnavailableError, match=said):
        feed.bring("shards/a.bin")
    with pytest.raises(UnavailableError, match=said):  # and from now on, at once
        feed.bring("shards/b.bin")


@pytest.mark.parametrize("hello", [b"", b"{}\n", b'{"room": "much"}\n', b"hello\n"])
def test_a_launcher_that_does_not_begin_is_one_message(tmp_path: Path, hello: bytes) -> None:
    answering(tmp_path / "socket", lambda connection: connection.sendall(hello))
    with pytest.raises(UnavailableError, match="the launcher does not answer at"):
        Feed(tmp_path / "socket")


def test_a_launcher_that_falls_silent_counts_as_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "SILENCE_SECONDS", 0.3)

    def serve(connection: socket.socket) -> None:
        connection.sendall(encode_line({"room": 1}))
        for _ in range(5):  # as long as it shows that it is there, it is waited for
            time.sleep(0.15)
            connection.sendall(encode_line({}))
        time.sleep(2)

    answering(tmp_path / "socket", serve)
    feed, began = Feed(tmp_path / "socket"), time.monotonic()
    with pytest.raises(UnavailableError, match="it has said nothing for"):
        feed.bring("shards/a.bin")
    assert time.monotonic() - began > 0.75


def test_a_socket_may_lie_deep(fed: Fed, tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)
    with launched(fed, deep) as found:
        assert brings_a_shard(found, fed)


def test_the_order_of_shards_is_a_permutation_of_whole_shards(fed: Fed) -> None:
    batches = Batches(open_snapshot(fed.whole.folder), "train", seed=5, batch_size=128, order="shards")
    stream = [int(record) for step in range(5) for record in batches.batch(step).records][:600]
    assert sorted(stream) == list(range(600))
    last = {record // 16 for record in stream[512:]}
    for window in range(4):
        found = {record // 16 for record in stream[window * 128 : (window + 1) * 128]}
        assert len(found - last) <= 8  # the last shard is cut short: what it lacks comes from the last window
    assert stream[:128] != sorted(stream[:128])
