"""Files that are copied into the store: whole or absent, whoever else copies the same at that time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from reprise.store import Store
from reprise.store.copies import blob_writer, copy_in
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError

DATA = os.urandom(3 << 20)
DIGEST = sha256_digest(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def partial_files(store: Store) -> list[Path]:
    return list((store.root / "partial").iterdir())


COPY = """\
import sys
from pathlib import Path
from reprise.store import Store
from reprise.store.copies import copy_in
copy_in(Path(sys.argv[1]), sys.argv[2], Store(Path(sys.argv[3])))
"""


def copying(store: Store, pipe: Path) -> tuple[subprocess.Popen[bytes], BinaryIO]:
    """A process that copies DATA in from a pipe, and the pipe's end that gives it."""
    os.mkfifo(pipe)
    process = subprocess.Popen([sys.executable, "-c", COPY, pipe, DIGEST.removeprefix("sha256:"), store.root])
    return process, pipe.open("wb", buffering=0)


def test_a_copy_that_is_killed_does_not_spoil_another_of_the_same_file(store: Store, tmp_path: Path) -> None:
    first, first_source = copying(store, tmp_path / "first")
    first_source.write(DATA[: 2 << 20])  # more than a pipe holds, so that the copy is under way after it
    second, second_source = copying(store, tmp_path / "second")
    second_source.write(DATA[: 1 << 20])
    first_source.write(DATA[2 << 20 :])
    first_source.close()
    assert first.wait(60) == 0
    second.kill()
    second.wait()
    assert store.read(DIGEST) == DATA
    second_source.close()


def test_what_a_killed_copy_left_is_removed_by_the_next(store: Store, tmp_path: Path) -> None:
    process, source = copying(store, tmp_path / "pipe")
    source.write(DATA[: 1 << 20])
    process.kill()
    process.wait()
    source.close()
    assert len(partial_files(store)) == 1
    with blob_writer(store, sha256_digest(b"other")) as file:
        file.write(b"other")
    assert partial_files(store) == []


def test_two_at_once_both_end_well(store: Store) -> None:
    with blob_writer(store, DIGEST) as first, blob_writer(store, DIGEST) as second:
        first.write(DATA)
        second.write(DATA)
    assert store.read(DIGEST) == DATA
    assert partial_files(store) == []


def test_other_bytes_than_the_digest_says_are_refused_and_leave_nothing(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(DATA[1:])
    with pytest.raises(InputError, match="changed while it was read"):
        copy_in(file, DIGEST.removeprefix("sha256:"), store)
    assert not store.has(DIGEST)
    assert partial_files(store) == []
