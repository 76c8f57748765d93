"""Secrets that a run's own code reads: files in a folder that the launcher mounts read-only. Standard library alone;
both sides use these names and limits."""

from __future__ import annotations

import os
import re
from pathlib import Path

from reprise_trainer.printable import printable

MOUNTED_AT = Path("/run/secrets")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
"""What a secret may be called: never a path, an option, or a hidden file."""

SIZE_LIMIT = 64 << 10
"""Bytes of one secret: a token, a key, a chain of certificates; no data."""


def read_secret_files(folder: Path = MOUNTED_AT) -> dict[str, bytes]:
    """The secrets in `folder` by their names, in order; none where there is no such folder.

    What is no secret's file is left out: whether it may be there is `wrong_secret_files`'s to say.
    """
    try:
        return {entry.name: Path(entry).read_bytes() for entry in _entries(folder) if not _wrong(entry)}
    except OSError:
        return {}


def wrong_secret_files(folder: Path) -> tuple[str, ...]:
    """What is in `folder` and is no secret's file, one sentence each, naming the path as the run sees it."""
    try:
        found = [(entry.name, _wrong(entry)) for entry in _entries(folder)]
    except OSError as error:
        return (f"{MOUNTED_AT}: can't be read: {error.strerror}",)
    return tuple(f"{MOUNTED_AT}/{printable(name)}: {wrong}" for name, wrong in found if wrong)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _wrong(entry: os.DirEntry[str]) -> str:
    if not NAME.fullmatch(entry.name):
        return "no secret is called so"
    if not entry.is_file(follow_symlinks=False):
        return "not a regular file"
    size = entry.stat(follow_symlinks=False).st_size
    return f"{size:,} bytes are more than a secret has ({SIZE_LIMIT:,})" if size > SIZE_LIMIT else ""
