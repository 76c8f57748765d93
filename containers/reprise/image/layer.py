"""Entries → one layer: canonical tar, compressed and hashed while it streams, with the list of its files at the end.

Three threads share the work, since inflating, hashing and compressing leave Python's lock alone: this one reads and
hashes each file, one hashes the tar, one compresses it and hashes and writes the result.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from reprise.image import tar_writer
from reprise.image.compress import Compressor, compressor
from reprise.image.entries import Entry, directory, file
from reprise.image.formats import DEFAULT_FORMAT, FORMATS, ImageFormat
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import ListedFile, encode_list, list_path

Late = Callable[[Mapping[str, ListedFile]], Iterable[Entry]]
"""Gives the entries that follow from those written before them: a wheel's RECORD holds the others' hashes."""

_BATCH = 1 << 20
"""Bytes of tar that are handed on at once."""


@dataclass(frozen=True, slots=True)
class WrittenLayer:
    """A layer's names: `digest` and `size` (bytes) of the compressed tar, `diff_id` of the tar, and its file list."""

    digest: str
    size: int
    diff_id: str
    file_list: bytes

    @property
    def list_digest(self) -> str:
        return sha256_digest(self.file_list)


def write_layer(
    name: str,
    entries: Iterable[Entry],
    out: BinaryIO,
    *,
    image_format: ImageFormat = FORMATS[DEFAULT_FORMAT],
    threads: int = 1,
    late: Iterable[Late] = (),
    on_bytes: Callable[[int], None] = lambda _: None,
) -> WrittenLayer:
    """Write one layer.

    Order in the tar: `entries` as given (sorted by `entries.merge`), what `late` gives, the list. A folder comes right
    before the first path that needs it.

    Args:
        name: the layer's name; its list is at `list_path(name)`.
        entries: sorted, without conflicts.
        out: where the compressed tar goes.
        image_format: decides the compressed bytes.
        threads: of the compressor; the bytes don't depend on it.
        late: called in turn, each with all files written so far, by path.
        on_bytes: told how many bytes of tar there are so far.

    Raises:
        InputError: an artifact is damaged.
        OSError: `out` cannot be written.
    """
    diff_id, packed = hashlib.sha256(), _Packed(out, compressor(threads, image_format))
    with _Stage(diff_id.update) as hashing, _Stage(packed.write) as compressing:

        def hand_on(data: bytes) -> None:
            hashing.put(data)
            compressing.put(data)

        tar = _Tar(hand_on, on_bytes)
        for entry in entries:
            tar.add(entry)
        for more in late:
            for entry in more(tar.listed):
                tar.add(entry)
        tar.add_folders(list_path(name))
        file_list = encode_list(name, tar.listed.values())
        tar.add(file(list_path(name), file_list))
        tar.end()
    packed.end()
    return WrittenLayer(packed.digest, packed.size, f"sha256:{diff_id.hexdigest()}", file_list)


class _Tar:
    """The tar's bytes, in batches, and the list of what is in it."""

    def __init__(self, hand_on: Callable[[bytes], None], on_bytes: Callable[[int], None]) -> None:
        self.listed: dict[str, ListedFile] = {}
        self._hand_on, self._on_bytes = hand_on, on_bytes
        self._batch: list[bytes] = []
        self._batch_size = self._size = 0

    def add(self, entry: Entry) -> None:
        self.add_folders(entry.path)
        if entry.path in self.listed:
            if entry.type == "directory":
                return  # it was needed by a path before it
            raise InputError(f"/{entry.path} would be in its layer twice")
        self._emit(tar_writer.header(entry.path, entry.type, entry.mode, entry.size, entry.target))
        sha256 = self._add_content(entry) if entry.type == "file" else ""
        self.listed[entry.path] = ListedFile(entry.path, entry.type, entry.mode, entry.size, sha256, entry.target)

    def add_folders(self, path: str) -> None:
        """The folders above `path` that are not there yet."""
        parent = path.rpartition("/")[0]
        if parent and parent not in self.listed:
            self.add(directory(parent))

    def end(self) -> None:
        self._emit(tar_writer.END)
        self._flush()

    def _add_content(self, entry: Entry) -> str:
        digest, size = hashlib.sha256(), 0
        for piece in entry.content() if entry.content else ():
            digest.update(piece)
            size += len(piece)
            self._emit(piece)
        if size != entry.size:
            raise InputError(f"/{entry.path} has {size} bytes, its artifact says {entry.size}")
        self._emit(tar_writer.padding(size))
        return digest.hexdigest()

    def _emit(self, data: bytes) -> None:
        if not data:
            return
        self._batch.append(data)
        self._batch_size += len(data)
        if self._batch_size >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        data = self._batch[0] if len(self._batch) == 1 else b"".join(self._batch)
        self._hand_on(data)
        self._size += len(data)
        self._on_bytes(self._size)
        self._batch, self._batch_size = [], 0


class _Packed:
    """Compresses, hashes and writes."""

    def __init__(self, out: BinaryIO, packer: Compressor) -> None:
        self.size = 0
        self._out, self._hash, self._compressor = out, hashlib.sha256(), packer

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes) -> None:
        self._keep(self._compressor.compress(data))

    def end(self) -> None:
        self._keep(self._compressor.flush())

    def _keep(self, data: bytes) -> None:
        if data:
            self._hash.update(data)
            self._out.write(data)
            self.size += len(data)


class _Stage:
    """A thread that does one thing with each piece of data, in order.

    Its error appears at the next `put`, or at the end of the `with` block.
    """

    def __init__(self, work: Callable[[bytes], Any]) -> None:
        self._work = work
        self._queue: queue.Queue[bytes | None] = queue.Queue(maxsize=8)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Stage:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def put(self, data: bytes) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put(data)

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            if self._error is None:  # after an error: only empty the queue, so that nobody waits for it
                try:
                    self._work(data)
                except BaseException as error:
                    self._error = error
