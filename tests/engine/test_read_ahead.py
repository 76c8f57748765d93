"""What a thread reads ahead comes whole, in order, and with its errors; the thread ends with the block."""

from __future__ import annotations

import io
import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise.engine.read_ahead import BUFFERS, read_ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"]


@given(st.binary(max_size=500), st.integers(1, 100))
def test_all_bytes_come_in_order(data: bytes, size: int) -> None:
    with read_ahead(io.BytesIO(data).readinto, size) as following:
        assert b"".join(bytes(piece) for piece in iter(following, b"")) == data
        assert following() == b"" and following() == b""
    assert threads() == []


def test_a_piece_stays_as_it_is_until_the_next_is_wanted() -> None:
    data = os.urandom(1000 * BUFFERS * 3)
    with read_ahead(io.BytesIO(data).readinto, 1000) as following:
        first = following()
        time.sleep(0.05)  # the thread fills the others, and waits
        assert first == data[:1000]


def test_an_error_comes_after_what_was_read_before_it() -> None:
    pieces = iter([3, 2])

    def fill(buffer: memoryview) -> int:
        count = next(pieces, -1)
        if count < 0:
            raise OSError("the disk is gone")
        buffer[:count] = b"x" * count
        return count

    with read_ahead(fill, 10) as following:
        assert (bytes(following()), bytes(following())) == (b"xxx", b"xx")
        with pytest.raises(OSError, match="the disk is gone"):
            following()
        assert following() == b""


def test_who_stops_early_leaves_no_thread() -> None:
    def endless(buffer: memoryview) -> int:
        return len(buffer)

    with pytest.raises(KeyError), read_ahead(endless, 10) as following:
        following()
        raise KeyError
    assert threads() == []
