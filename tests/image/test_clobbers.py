from __future__ import annotations

import pytest

from reprise.image.clobbers import find_clobbers
from reprise_trainer.identity.file_list import ListedFile

FOLDER = ListedFile("usr", "directory", 0o755)
FILE = ListedFile("usr/a", "file", 0o644, 3, "ab" * 32)


@pytest.mark.parametrize(
    "other",
    [
        ListedFile("usr/a", "file", 0o755, 3, "ab" * 32),
        ListedFile("usr/a", "file", 0o644, 4, "ab" * 32),
        ListedFile("usr/a", "file", 0o644, 3, "cd" * 32),
        ListedFile("usr/a", "symlink", 0o777, target="b"),
        ListedFile("usr/a", "directory", 0o755),
    ],
)
def test_a_path_with_other_mode_bytes_or_type_is_named_with_both_layers(other: ListedFile) -> None:
    assert find_clobbers([("one", [FOLDER, FILE]), ("two", [FOLDER, other])]) == [("usr/a", "one", "two")]


def test_links_with_other_targets_clobber() -> None:
    lists = [(name, [ListedFile("l", "symlink", 0o777, target=name)]) for name in ("a", "b", "c")]
    assert find_clobbers(lists) == [("l", "a", "b"), ("l", "a", "c")]


def test_folders_with_one_mode_and_equal_files_do_not_clobber() -> None:
    assert find_clobbers([("one", [FOLDER, FILE]), ("two", [FOLDER, FILE])]) == []


def test_folders_with_two_modes_clobber() -> None:
    lists = [("one", [FOLDER]), ("two", [ListedFile("usr", "directory", 0o700)])]
    assert find_clobbers(lists) == [("usr", "one", "two")]


def test_three_thousand_paths_of_its_own_in_each_of_ten_layers_do_not_clobber() -> None:
    lists = [
        (str(layer), [FOLDER, *(ListedFile(f"usr/{layer}/{n}", "file", 0o644, n, f"{n:064x}") for n in range(3000))])
        for layer in range(10)
    ]
    assert find_clobbers(lists) == []
