"""A layer's uncompressed tar as a stream that checks itself: bounded in length, its digest must be the diff_id."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

import zstandard

from reprise.engine.interface import Layer
from reprise.engine.read_ahead import read_ahead
from reprise.store import Store
from reprise_trainer.errors import InputError

CHUNK = 1 << 18
"""Bytes that are read, hashed and written at a time: they stay in the processor's cache from one to the next."""

FLOOR_BYTES = 1 << 30

_PLAIN = ("application/vnd.oci.image.layer.v1.tar",)
_ZSTD = ("application/vnd.oci.image.layer.v1.tar+zstd",)
_GZIP = ("application/vnd.oci.image.layer.v1.tar+gzip",)


def size_limit(layer: Layer) -> int:
    """Bytes that a layer may unpack to: 200 times its blob and 1 GiB, so that a small blob can't fill a disk."""
    return 200 * layer.size + FLOOR_BYTES


class Readable(Protocol):
    """What is needed of a file: to read into a buffer, and to say how much was read so far."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill the buffer as far as there are bytes; how many, 0 at the end."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""

    def tell(self) -> int:
        """Bytes that were read so far."""


class LayerStream:
    """Reads a layer's tar, forwards only: `read` and `tell` as tarfile wants them of a file, `take` without a copy.

    tarfile's own stream mode copies what it has read ahead once more for each header, which took half of the time.
    There is one buffer, so what `take` gives is to be used before the next call.
    """

    def __init__(self, source: Readable, layer: Layer, blob: Readable) -> None:
        self._source = source
        self._blob = blob
        self._layer = layer
        self._hash = hashlib.sha256()
        self._limit = size_limit(layer)
        self._buffer = memoryview(bytearray(CHUNK))
        self._piece = self._buffer[:0]
        self.length = 0
        self.next_piece = self._fill_own

    @property
    def position(self) -> int:
        """Bytes of the blob that were read so far, of the layer's `size`."""
        return self._blob.tell()

    def tell(self) -> int:
        """Bytes of the tar that were given out so far."""
        return self.length - len(self._piece)

    def take(self, count: int) -> memoryview:
        """The next bytes, `count` or fewer; none only at the end.

        Raises:
            InputError: the layer is longer than its limit, or damaged.
        """
        if not self._piece:
            self._piece = self._more()
        taken, self._piece = self._piece[:count], self._piece[count:]
        return taken

    def read(self, count: int = CHUNK) -> bytes:
        """The next `count` bytes, fewer only at the end; errors as for `take`."""
        data = bytes(self.take(count))
        while len(data) < count and (piece := self.take(count - len(data))):
            data += piece
        return data

    def skip(self, count: int) -> None:
        """Go on behind the next `count` bytes, or at the end."""
        while count and (piece := self.take(count)):
            count -= len(piece)

    def fill(self, buffer: memoryview) -> int:
        """Read, decompress and hash the next bytes into a buffer; how many, 0 at the end."""
        try:
            count = self._source.readinto(buffer) or 0
        except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
            raise InputError(f"layer {self._layer.digest} can't be unpacked: {error}") from error
        self._hash.update(buffer[:count])
        return count

    def _fill_own(self) -> memoryview:
        return self._buffer[: self.fill(self._buffer)]

    def _more(self) -> memoryview:
        data = self.next_piece()
        self.length += len(data)
        if self.length > self._limit:
            raise InputError(f"layer {self._layer.digest} unpacks to more than {self._limit:,} bytes")
        return data

    def finish(self) -> None:
        """Read what is left, and compare the digest.

        Raises:
            InputError: the tar is not the one that the image's config names.
        """
        while self.take(CHUNK):
            pass
        found = f"sha256:{self._hash.hexdigest()}"
        if found != self._layer.diff_id:
            raise InputError(
                f"layer {self._layer.digest} unpacks to {found}, the image's config says {self._layer.diff_id}"
            )


@contextmanager
def open_layer(store: Store, layer: Layer) -> Iterator[LayerStream]:
    """The layer's tar, decompressed as it is read.

    Raises:
        NotFoundError: the store does not hold the layer.
        InputError: a media type that is not a layer's.
    """
    with store.path(layer.digest).open("rb") as file, read_layer(file, layer) as stream:
        yield stream


@contextmanager
def read_layer(file: Readable, layer: Layer, *, ahead: bool = False) -> Iterator[LayerStream]:
    """As `open_layer`, of a layer's open file, wherever that is.

    Args:
        ahead: decompress and hash in a thread of its own, ahead of who takes: half of the time where files are written.
    """
    with _decompressed(file, layer) as source:
        stream = LayerStream(source, layer, file)
        if not ahead:
            yield stream
            return
        with read_ahead(stream.fill, CHUNK) as stream.next_piece:
            yield stream


@contextmanager
def _decompressed(file: Readable, layer: Layer) -> Iterator[Readable]:
    if layer.media_type in _PLAIN:
        yield file
    elif layer.media_type in _ZSTD:
        with zstandard.ZstdDecompressor().stream_reader(cast("Any", file), read_size=CHUNK, closefd=False) as reader:
            yield reader
    elif layer.media_type in _GZIP:
        import gzip

        with gzip.GzipFile(fileobj=cast("Any", file)) as unzipped:
            yield unzipped
    else:
        raise InputError(f"layer {layer.digest} has media type {layer.media_type!r}, which is not a layer's")
