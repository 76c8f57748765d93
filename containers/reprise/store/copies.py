"""Files from outside into a store: copied, never moved or linked, since whoever owns them may go on writing to them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from reprise.store.layout import Store
from reprise_trainer.errors import InputError

_PREFIX = "blob-"
"""What the names of unfinished blobs begin with; a download that can go on has its digest as its name."""


def copy_in(path: Path, sha256: str, store: Store) -> None:
    """Copy a file into the store under the digest that its bytes had a moment ago, checking the copy.

    Args:
        path: the file.
        sha256: what `file_sha256` gave for it.
        store: unchanged when it holds the digest already.

    Raises:
        InputError: the file has changed since.
        OSError: it can't be read, or the store can't be written.
        StorageError: the store can't be written.
    """
    digest = f"sha256:{sha256}"
    if store.has(digest):
        return
    with path.open("rb") as source, blob_writer(store, digest) as target:
        hashed = hashlib.sha256()
        for block in _blocks(source.fileno()):
            hashed.update(block)
            target.write(block)
        if hashed.hexdigest() != sha256:
            raise InputError(f"{path}: it changed while it was read")


@contextmanager
def blob_writer(store: Store, digest: str) -> Iterator[BinaryIO]:
    """A file that becomes the blob `digest` when the block ends well, and disappears when it doesn't.

    Several processes may write the same blob at once: each has a file of its own. The block must raise where the bytes
    that it has written have another digest: they are not read again.

    Raises:
        OSError: the store can't be written.
        StorageError: the same, at the end of the block.
    """
    folder = store.root / "partial"
    with store.locked():  # so that nobody takes the file for a left one before it has its lock
        _remove_left(folder)
        descriptor, name = tempfile.mkstemp(prefix=_PREFIX, dir=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    aside = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
            file.flush()
            store.add_file(aside, digest)
        finally:
            aside.unlink(missing_ok=True)


def _remove_left(folder: Path) -> None:
    """Remove what killed processes left: whoever writes a file has a lock on it."""
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError, BlockingIOError, PermissionError), left.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def file_sha256(path: Path) -> str:
    """A file's sha256, hex.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _blocks(descriptor: int) -> Iterator[bytes]:
    while block := os.read(descriptor, 1 << 20):
        yield block
