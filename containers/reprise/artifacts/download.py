"""Stream a file into the store's folder of partial downloads, hashing it on the way and going on where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from reprise.artifacts.headers import header_number
from reprise.artifacts.patience import NoAnswerError, SilentError, persistently, refuse_bad_status
from reprise.artifacts.sources import Candidate
from reprise.lock.session import TIMEOUT
from reprise_trainer.durable import storage_error

_CHUNK = 1 << 17


class Cancelled(Exception):  # noqa: N818 - it is no error: another thread ended the work
    """The whole fetch was given up."""


class TooLongError(NoAnswerError):
    """A place sends more bytes than the file has, so that it is another file."""


class PartialFile:
    """An artifact's bytes as far as they have come, and their sha256.

    What was there already may stem from any place, or from a process that was killed: the hash of the whole decides.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._file = os.fdopen(os.dup(descriptor), "r+b")
        self._hash = hashlib.sha256()
        self.size = 0
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
            self.size += len(chunk)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def append(self, data: bytes) -> None:
        """Raises StorageError when the disk is full."""
        try:
            self._file.write(data)
        except OSError as error:
            raise storage_error(error, self.path) from error
        self._hash.update(data)
        self.size += len(data)

    def empty(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0

    def flush(self) -> None:
        """Raises StorageError when the disk is full."""
        try:
            self._file.flush()
        except OSError as error:
            raise storage_error(error, self.path) from error

    def close(self) -> None:
        self._file.close()


@contextmanager
def partial_file(path: Path) -> Iterator[PartialFile]:
    """The partial file at `path`, made when it is not there, for this process and thread alone.

    Another process that wants the same artifact waits here, and finds it in the store when its turn comes.
    """
    try:
        descriptor = _lock(path)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        partial = PartialFile(path, descriptor)
        try:
            yield partial
        finally:
            partial.close()
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """An exclusive lock on the file that has the name `path` at the time when the lock is held."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its last holder moved it into the store, or removed it


def download(
    candidate: Candidate,
    partial: PartialFile,
    size: int,
    on_progress: Callable[[int, int], None],
    cancelled: threading.Event,
) -> None:
    """Bring `partial` to the end of the file at `candidate`, going on from where it is if the server can.

    Args:
        size: bytes that the file should have, 0 when unknown.
        on_progress: called with (bytes so far, bytes in all or 0 when unknown).
        cancelled: when set, the download stops within a chunk; the partial file stays.

    Raises:
        NoAnswerError: the place does not have the file, or does not answer.
        TooLongError: it has a longer one; no more than `size` was kept, and then nothing.
        StorageError: the disk is full.
        Cancelled: `cancelled` was set.
    """

    def wait(seconds: float) -> None:
        if cancelled.wait(seconds):
            raise Cancelled

    def ask() -> None:
        for done, total in _stream(candidate, partial, size):
            on_progress(done, total)
            if cancelled.is_set():
                raise Cancelled

    persistently(ask, lambda: partial.size, wait)
    partial.flush()


def _stream(candidate: Candidate, partial: PartialFile, size: int) -> Iterator[tuple[int, int]]:
    """Ask once for what is missing, and append what comes; yields (bytes so far, bytes in all) after each chunk."""
    headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
    with candidate.session.get(candidate.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # the file there is not longer than what is here, so that is not its beginning
            partial.empty()
            raise SilentError("it has a shorter file")
        refuse_bad_status(answer)
        if answer.status_code == 206 and not _continues(answer.headers.get("Content-Range", ""), partial.size):
            partial.empty()
            raise NoAnswerError("it sends another part of the file than was asked for")
        if answer.status_code == 200:
            partial.empty()
        length = header_number(answer, "Content-Length") or 0
        total = partial.size + length if length else size
        for chunk in answer.raw.stream(_CHUNK, decode_content=False):
            if size and partial.size + len(chunk) > size:
                partial.empty()
                raise TooLongError(f"more than the {size} bytes that the file has")
            partial.append(chunk)
            yield partial.size, total
        if partial.size < total:
            raise SilentError(f"the connection ended after {partial.size} of {total} bytes")


def _continues(content_range: str, start: int) -> bool:
    """Whether a Content-Range header (RFC 9110, 14.4) says that the answer starts at byte `start`."""
    return content_range.lower().startswith(f"bytes {start}-")
