"""What a layer will hold, path by path, before it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reprise.image.format import DIRECTORY_MODE, DIRECTORY_MODES, FILE_MODE, SYMLINK_MODE
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import FileType

Content = Callable[[], Iterable[bytes]]
"""Gives a file's bytes in pieces; can be called again, and in a forked process."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a layer, relative to the root. `size` and `content` are of a file, `target` of a symlink."""

    path: str
    type: FileType
    mode: int
    size: int = 0
    target: str = ""
    content: Content | None = None

    def read(self) -> bytes:
        """All bytes of a file."""
        return b"".join(self.content()) if self.content else b""


def file(path: str, data: bytes, mode: int = FILE_MODE) -> Entry:
    """A file whose bytes are at hand."""
    return Entry(path, "file", mode, size=len(data), content=lambda: (data,))


def directory(path: str) -> Entry:
    """A directory, with the one mode that its path has."""
    return Entry(path, "directory", DIRECTORY_MODES.get(path, DIRECTORY_MODE))


def symlink(path: str, target: str) -> Entry:
    """A symbolic link whose text is `target`."""
    return Entry(path, "symlink", SYMLINK_MODE, target=target)


def checked_path(path: str, artifact: str) -> str:
    """`path` if it is a plain relative path in UTF-8: no empty part, no `.` or `..`, no NUL.

    Raises:
        InputError: it is not; `artifact` is named.
    """
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{artifact} has a file {path!r}, which is not a plain path below its root")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InputError(f"{artifact} has a file {path!r}, whose name is not UTF-8") from None
    return path


def merge(parts: Iterable[tuple[str, Iterable[Entry]]]) -> list[Entry]:
    """The entries of one layer's artifacts, sorted by path bytes. Input order does not matter.

    Two artifacts may own one path only if they agree on it: a directory, or the same file byte for byte.

    Args:
        parts: for each artifact its name (for messages) and its entries.

    Raises:
        InputError: two artifacts (or one) own a path with different content, or a file has something below it.
    """
    owned: dict[str, tuple[str, Entry]] = {}
    for artifact, entries in parts:
        for entry in entries:
            if entry.path not in owned:
                owned[entry.path] = (artifact, entry)
                continue
            owner, other = owned[entry.path]
            if not _same(entry, other):
                raise InputError(f"/{entry.path} is owned twice with different content: by {owner} and by {artifact}")
    merged = sorted((entry for _, entry in owned.values()), key=lambda entry: entry.path.encode())
    _refuse_files_as_folders(merged, owned)
    return merged


def _same(one: Entry, other: Entry) -> bool:
    attributes = (one.type, one.mode, one.size, one.target)
    if attributes != (other.type, other.mode, other.size, other.target):
        return False
    return one.type != "file" or one.read() == other.read()


def _refuse_files_as_folders(entries: Iterable[Entry], owned: dict[str, tuple[str, Entry]]) -> None:
    folders: set[str] = set()
    for entry in entries:
        parent = entry.path.rpartition("/")[0]
        while parent and parent not in folders:
            folders.add(parent)
            parent = parent.rpartition("/")[0]
    for folder in sorted(folders & owned.keys()):
        owner, entry = owned[folder]
        if entry.type != "directory":
            raise InputError(f"/{folder} is a {entry.type} in {owner}, but other paths of its layer are below it")
