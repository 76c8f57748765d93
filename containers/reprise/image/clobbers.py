"""Paths that two layers own with different content: the image would depend on which of them is on top."""

from __future__ import annotations

from collections.abc import Sequence

from reprise_trainer.identity.file_list import ListedFile


def find_clobbers(lists: Sequence[tuple[str, Sequence[ListedFile]]]) -> list[tuple[str, str, str]]:
    """Compare the file lists of an image's layers.

    Args:
        lists: each layer's name and files, lowest first.

    Returns:
        `(path, first layer, second layer)` for each path whose type, mode, bytes or target differ, sorted by path.
        Directories that agree on their mode, and equal files, are no clobbers.
    """
    first: dict[str, tuple[ListedFile, str]] = {}
    found = []
    for layer, files in lists:
        for file in files:
            other, owner = first.setdefault(file.path, (file, layer))
            if other is not file and other != file:
                found.append((file.path, owner, layer))
    return sorted(found)
