"""Files from outside into a store: copied, never moved or linked, since whoever owns them may go on writing to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from reprise.store.layout import Store
from reprise_trainer.errors import InputError


def copy_in(path: Path, sha256: str, store: Store) -> None:
    """Copy a file into the store under the digest that its bytes had a moment ago, checking the copy.

    Args:
        path: the file.
        sha256: what `file_sha256` gave for it.
        store: unchanged when it holds the digest already.

    Raises:
        InputError: the file has changed since.
        OSError: it can't be read, or the store can't be written.
    """
    digest = f"sha256:{sha256}"
    if store.has(digest):
        return
    aside = store.partial(digest)
    with path.open("rb") as source, aside.open("wb") as target:
        hashed = hashlib.sha256()
        for block in _blocks(source.fileno()):
            hashed.update(block)
            target.write(block)
    if hashed.hexdigest() != sha256:
        aside.unlink()
        raise InputError(f"{path}: it changed while it was read")
    store.add_file(aside, digest)


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
