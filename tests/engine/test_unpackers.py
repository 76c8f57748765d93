"""Large images are unpacked by processes: the same result, the same errors, and nothing left of one that ends early."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_image import Entry, base_entries, make_image, tiny_entries

from reprise.engine import unpack
from reprise.engine.flat_copy import flat_copy
from reprise.engine.interface import ImageRef, Layer
from reprise.engine.unpack import (
    folder_name,
    make_unpacked_folder,
    only_unpacker,
    unpack_layers,
    unpacked_folder,
)
from reprise.engine.unpackers import unpackers
from reprise.events import Event, ignore
from reprise.store import Store
from reprise_trainer.errors import InputError, SystemFailureError
from reprise_trainer.identity.measure import measure


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(unpack, "WORTH_PROCESSES", 0)
    return Store.open(tmp_path / "store")


@pytest.fixture
def image(store: Store) -> ImageRef:
    return ImageRef(store, make_image(store, {"base": base_entries(), "torch": tiny_entries()}).digest)


def unpacked(store: Store) -> list[str]:
    return sorted(path.name for path in unpacked_folder(store).iterdir() if path.name != ".lock")


def test_the_result_measures_as_the_image(image: ImageRef) -> None:
    events: list[Event] = []
    root = flat_copy(image, unpack_layers(image.store, image.layers(), on_event=events.append))
    measurement = measure(root, owner=(os.getuid(), os.getgid()))
    assert (measurement.digest, measurement.differences) == (image.digest, ())
    done = {event["name"] for event in events if event["bytes"] == event["total"]}
    assert done == {layer.digest for layer in image.layers()}


def test_a_refused_layer_is_said_as_ever_and_nothing_of_it_is_left(image: ImageRef) -> None:
    layer = image.layers()[0]
    wrong = Layer(layer.media_type, layer.digest, layer.size, "sha256:" + 64 * "0")
    with pytest.raises(InputError, match=f"unpacks to {layer.diff_id}, the image's config says sha256:00"):
        unpack_layers(image.store, [wrong, *image.layers()[1:]])
    assert not [name for name in unpacked(image.store) if name.startswith((".part", "0000"))]


def process_of(folder: Path) -> int:
    """The process that unpacks into `folder`."""
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = found.read_bytes().split(b"\0")
            if b"reprise.engine.unpack_process" in words and str(folder).encode() in words:
                return int(found.parent.name)
    raise AssertionError("no process unpacks")


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclass
class Growing:
    """A layer whose blob comes in; `verified` is set when it was compared with its digest."""

    layer: Layer
    blob: bytes
    store: Store
    folder: Path
    verified: threading.Event

    @property
    def files(self) -> list[Path]:
        return [self.store.partial(self.layer.digest), self.store.place(self.layer.digest)]

    def add(self, start: int, end: int | None = None) -> None:
        with self.files[0].open("ab") as file:
            file.write(self.blob[start:end])

    def brought_by_another(self) -> None:
        """All of it is in the store, in another file than its partial one."""
        self.store.add(self.blob)

    def parts(self) -> list[Path]:
        return list(self.folder.glob(".part-*"))


@pytest.fixture
def growing(store: Store) -> Growing:
    image = make_image(store, {"noise": {"x": Entry(os.urandom(1_000_000)), "y": Entry(b"y")}})
    layer = ImageRef(store, image.digest).layers()[0]
    blob = store.path(layer.digest).read_bytes()
    store.path(layer.digest).unlink()
    return Growing(layer, blob, store, make_unpacked_folder(store), threading.Event())


def test_a_layer_is_unpacked_as_its_bytes_come_in_and_appears_when_they_are_verified(growing: Growing) -> None:
    with only_unpacker(growing.folder) as lock, unpackers(growing.folder, 1, ignore, lock=lock) as begin:
        result = begin(growing.layer, growing.files, growing.verified)
        growing.add(0, 600_000)
        wait_for(lambda: [part for part in growing.parts() if (part / "x").exists()])
        growing.add(600_000)
        wait_for(lambda: [part for part in growing.parts() if (part / "y").exists()])
        time.sleep(0.3)
        assert not result.done() and len(unpacked(growing.store)) == 1
        growing.files[0].rename(growing.files[1])
        growing.verified.set()
        result.result(60)
        assert unpacked(growing.store) == [folder_name(growing.layer)]


def test_a_blob_that_is_in_the_store_by_then_is_read_there(growing: Growing) -> None:
    with only_unpacker(growing.folder) as lock, unpackers(growing.folder, 1, ignore, lock=lock) as begin:
        result = begin(growing.layer, growing.files, growing.verified)
        time.sleep(0.3)
        growing.brought_by_another()
        growing.verified.set()
        result.result(60)
    assert unpacked(growing.store) == [folder_name(growing.layer)]


@pytest.mark.parametrize("come", [0, 600_000])
def test_a_blob_that_another_process_brought_is_read_on_in_the_store(growing: Growing, come: int) -> None:
    with only_unpacker(growing.folder) as lock, unpackers(growing.folder, 1, ignore, lock=lock) as begin:
        growing.add(0, come)  # nothing is added to this file any more
        result = begin(growing.layer, growing.files, growing.verified)
        time.sleep(0.5)
        growing.brought_by_another()
        growing.verified.set()
        result.result(60)
    assert unpacked(growing.store) == [folder_name(growing.layer)]


def test_a_download_that_begins_anew_is_noticed(growing: Growing) -> None:
    with only_unpacker(growing.folder) as lock, unpackers(growing.folder, 1, ignore, lock=lock) as begin:
        result = begin(growing.layer, growing.files, growing.verified)
        growing.add(0, 600_000)
        wait_for(lambda: [part for part in growing.parts() if (part / "x").exists()])
        os.truncate(growing.files[0], 0)
        with pytest.raises(InputError, match="began anew"):
            result.result(60)


def test_a_process_that_is_killed_is_an_error(growing: Growing) -> None:
    with only_unpacker(growing.folder) as lock, unpackers(growing.folder, 1, ignore, lock=lock) as begin:
        result = begin(growing.layer, growing.files, growing.verified)
        os.kill(process_of(growing.folder), signal.SIGKILL)
        with pytest.raises(SystemFailureError, match="ended with status -9"):
            result.result(60)


def test_work_that_is_given_up_ends_its_processes_and_leaves_nothing(growing: Growing) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        only_unpacker(growing.folder) as lock,
        unpackers(growing.folder, 2, ignore, lock=lock) as begin,
    ):
        begin(growing.layer, growing.files, growing.verified)
        growing.add(0)  # all of it: the process waits for the word
        wait_for(lambda: [part for part in growing.parts() if (part / "y").exists()])
        raise KeyboardInterrupt
    assert unpacked(growing.store) == []
    with pytest.raises(AssertionError, match="no process"):
        process_of(growing.folder)


def test_processes_whose_parent_was_killed_end_and_keep_the_lock_until_then(growing: Growing, tmp_path: Path) -> None:
    program = f"""
import threading
from pathlib import Path
from reprise.engine.interface import Layer
from reprise.engine.unpack import only_unpacker
from reprise.engine.unpackers import unpackers
folder = Path({str(growing.folder)!r})
with only_unpacker(folder) as lock, unpackers(folder, 1, print, lock=lock) as begin:
    begin({growing.layer!r}, {[str(each) for each in growing.files]!r}, threading.Event()).result()
"""
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        growing.add(0, 600_000)
        wait_for(lambda: [part for part in growing.parts() if (part / "x").exists()])
        child = process_of(growing.folder)
        os.kill(child, signal.SIGSTOP)
        parent.kill()
    with pytest.raises(BlockingIOError), only_unpacker(growing.folder, wait=False):
        pass
    os.kill(child, signal.SIGCONT)
    with only_unpacker(growing.folder):
        assert unpacked(growing.store) == []
