"""Removing a tree of unpacked files, however deep it is and whatever modes its folders have."""

from __future__ import annotations

import os
from pathlib import Path


def remove_tree(root: Path) -> None:
    """Remove a folder with all that is in it.

    `shutil.rmtree` calls itself for each level, so that a layer with a thousand folders in one another, which a version
    without a limit has unpacked, would end it; and without root it can't empty a folder that may not be written.

    Raises:
        OSError: something can't be removed.
    """
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        folders = ["."]
        for folder in folders:  # it grows on the way: a folder's own come after it
            folders += _empty(folder, top)
        for folder in reversed(folders[1:]):
            os.rmdir(folder, dir_fd=top)
    finally:
        os.close(top)
    root.rmdir()


def _empty(folder: str, top: int) -> list[str]:
    """Remove what is no folder from a folder; those that are left in it, relative to `top` as it is."""
    os.chmod(folder, 0o700, dir_fd=top)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        with os.scandir(descriptor) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_folder in found:
            if not is_folder:
                os.unlink(name, dir_fd=descriptor)
        return [f"{folder}/{name}" for name, is_folder in found if is_folder]
    finally:
        os.close(descriptor)
