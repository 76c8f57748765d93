"""Files that are whole or absent: written aside, synced, renamed into place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from reprise_trainer.errors import StorageError


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path` so that a crash at any moment leaves the old file or the new one, never a part.

    Raises:
        StorageError: the file system refuses (full, read-only, no permission); nothing is left behind.
    """
    with durable_writer(path, mode=mode) as file:
        file.write(data)


@contextmanager
def durable_writer(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A binary file that becomes `path` when the block ends well, and disappears when it doesn't.

    Raises:
        StorageError: the file system refuses; nothing is left behind.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise storage_error(error, path) from error
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        aside.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        aside.unlink(missing_ok=True)


def append_line(file: FileIO, line: bytes) -> None:
    """Append `line` and a line feed to an unbuffered file, to the last byte.

    On a nearly full disk or at a limit, write(2) writes a part and says so by its result alone; the next call fails.

    Raises:
        OSError: the file system refuses; a part of the line may stand.
    """
    left = memoryview(line + b"\n")
    while left:
        left = left[os.write(file.fileno(), left) :]


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage_error(error: OSError, path: Path) -> StorageError:
    """The user's view of a failed write at `path`."""
    return StorageError(
        f"cannot write {path}: {error.strerror or error}",
        hint="Free some space, or choose another folder, and run the command again; nothing was left half-written.",
    )
