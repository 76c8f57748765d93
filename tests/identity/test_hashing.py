"""Files are hashed as hashlib hashes them, however they are shared out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise_trainer.identity.hashing import BUFFER_BYTES, PER_FILE_COST, split_by_size, start_hashing

SIZES = (0, 1, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES, 5 * BUFFER_BYTES + 17)


@pytest.mark.parametrize("workers", [1, 2, 7, 40])
def test_digests_are_those_of_hashlib_in_the_order_given(tmp_path: Path, workers: int) -> None:
    files = []
    for number, size in enumerate(SIZES * 3):
        (tmp_path / f"f{number}").write_bytes(os.urandom(size))
        files.append((f"f{number}", size))
    expected = [hashlib.sha256((tmp_path / name).read_bytes()).digest() for name, _ in files]
    assert start_hashing(tmp_path, files, workers=workers).collect() == expected


def test_no_files_need_no_digests(tmp_path: Path) -> None:
    assert start_hashing(tmp_path, []).collect() == []


def test_what_cannot_be_read_has_no_digest_and_harms_no_other(tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(b"x")
    (tmp_path / "link").symlink_to("good")
    digests = start_hashing(tmp_path, [("gone", 1), ("good", 1), ("link", 1), (".", 1)], workers=2).collect()
    assert digests == [None, hashlib.sha256(b"x").digest(), None, None]


def test_a_root_that_is_gone_leaves_every_file_without_digest(tmp_path: Path) -> None:
    assert start_hashing(tmp_path / "gone", [("a", 1), ("b", 1)]).collect() == [None, None]


@given(st.lists(st.integers(0, 10**9), max_size=200), st.integers(1, 16))
def test_shares_hold_each_file_once_and_none_waits_long_for_another(sizes: list[int], count: int) -> None:
    shares = split_by_size(sizes, count)
    assert sorted(index for share in shares for index in share) == list(range(len(sizes)))
    loads = [sum(sizes[index] + PER_FILE_COST for index in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0) + PER_FILE_COST
