"""A file that is read while it is written: its end is where its size is reached, not where its bytes end for now."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from reprise_trainer.errors import InputError, NotFoundError


class GrowingFile:
    """See `layer_stream.Readable`.

    Args:
        paths: the file's names, one after the other: a blob on its way into the store is renamed once. What has the
            last name is whole, and may be another file than the one that had the first: another process brought it.
        size: bytes that the file will have; 0 where all of it is there.
        pause: called to wait for more; what it raises ends the reading.

    Raises:
        NotFoundError: none of the names is there, and all of it should be.
        InputError: the file became shorter: its download began anew.
    """

    def __init__(self, paths: Sequence[Path], size: int, pause: Callable[[], None]) -> None:
        self._paths = paths
        self._size = size
        self._pause = pause
        self._position = 0
        self._file = self._open()

    def _open(self) -> int:
        while True:
            for path in self._paths:
                with suppress(FileNotFoundError):
                    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if not self._size:
                raise NotFoundError(f"{self._paths[-1]} is not there any more")
            self._pause()

    def close(self) -> None:
        os.close(self._file)

    def readinto(self, buffer: memoryview, /) -> int:
        """Bytes that were read into the buffer, at least one; 0 at the end."""
        while not (count := os.readv(self._file, (buffer,))) and self._position < self._size:
            self._wait()
        self._position += count
        return count

    def read(self, size: int, /) -> bytes:
        """The next bytes, at least one and at most `size`; none at the end."""
        while not (data := os.read(self._file, size)) and self._position < self._size:
            self._wait()
        self._position += len(data)
        return data

    def tell(self) -> int:
        """Bytes that were read so far."""
        return self._position

    def _wait(self) -> None:
        if os.fstat(self._file).st_size < self._position:
            raise InputError("the file's download began anew")
        try:
            whole = os.open(self._paths[-1], os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return self._pause()
        os.lseek(whole, self._position, os.SEEK_SET)  # what is open may have been left, and never grow any more
        os.close(self._file)
        self._file, self._size = whole, 0
