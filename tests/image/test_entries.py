from __future__ import annotations

import pytest

from reprise.image.base import base_entries
from reprise.image.entries import Entry, directory, file, merge, symlink
from reprise_trainer.errors import InputError


def test_order_is_by_path_bytes_whatever_order_came_in() -> None:
    names = ["b", "a/b", "a-b", "a", "ä", "Z", "\N{SNOWMAN}"]
    entries = [directory(name) if name == "a" else file(name, b"") for name in names]
    expected = sorted(names, key=str.encode)
    assert [entry.path for entry in merge([("one", entries)])] == expected
    assert [entry.path for entry in merge([("one", entries[:3]), ("two", reversed(entries[3:]))])] == expected


@pytest.mark.parametrize(
    "other", [file("a", b"2"), file("a", b"1", 0o755), symlink("a", "b"), directory("a"), file("a", b"longer")]
)
def test_a_path_owned_twice_with_different_content_is_named_with_both_owners(other: Entry) -> None:
    with pytest.raises(InputError, match="/a is owned twice with different content: by first and by second"):
        merge([("first", [file("a", b"1")]), ("second", [other])])


def test_a_path_owned_twice_with_the_same_content_is_one() -> None:
    parts = [(name, [file("a", b"1"), directory("d"), symlink("l", "a")]) for name in ("first", "second")]
    assert [entry.path for entry in merge(parts)] == ["a", "d", "l"]


@pytest.mark.parametrize("blocking", [file("a", b""), symlink("a", "b"), file("a/b", b"")])
def test_a_file_or_link_with_something_below_it_is_named(blocking: Entry) -> None:
    with pytest.raises(InputError, match=f"/{blocking.path} is a {blocking.type} in first"):
        merge([("first", [blocking]), ("second", [file("a/b/c", b"")])])


def test_the_base_layer_has_what_engines_would_add() -> None:
    entries = {entry.path: entry for entry in merge([("base", base_entries())])}
    for path in (".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "run/.containerenv"):
        assert (entries[path].type, entries[path].size) == ("file", 0)
    assert entries["etc/mtab"].target == "/proc/mounts"
    assert [entries[path].mode for path in ("tmp", "var/tmp", "root", "proc")] == [0o1777, 0o1777, 0o700, 0o755]
    assert {path for path in ("data", "output", "run/reprise", "dev", "sys") if entries[path].type == "directory"}
