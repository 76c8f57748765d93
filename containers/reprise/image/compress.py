"""The one way in which layers are compressed.

One version of libzstd and one level still give different bytes for: threads 0 or more, and size pledged or not
(measured; the size of the pieces fed in and 1, 2 or 4 threads make no difference). So it is always the multi-threaded
mode, the size is never pledged, and each parameter is written out in the image's format. libzstd itself is pinned by
the lock's zstandard wheel, and checked. Not Python's zlib, bz2 or gzip: their libraries differ from machine to machine
in what they write.
"""

from __future__ import annotations

import zstandard

from reprise.image.formats import ImageFormat

_STEP = zstandard.COMPRESSION_RECOMMENDED_INPUT_SIZE
"""Bytes that it is fed at once: one block of zstd, so that no more comes in than can go out."""


class Compressor:
    """Data in, compressed data out, as soon as it is there.

    zstandard's object takes whatever it is given, but gives out at most 128 KiB a call. Fed with more than that at once
    it falls behind by up to eight jobs, 67 MB that then come out in one piece at the end (measured: a layer of 280 MB
    of binaries took 207 MB of memory so, and takes 104 MB in small steps, with the same bytes).
    """

    def __init__(self, parameters: zstandard.ZstdCompressionParameters) -> None:
        self._stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    def compress(self, data: bytes) -> bytes:
        """Take `data`; what is ready by now."""
        view = memoryview(data)
        steps = (view[at : at + _STEP] for at in range(0, len(view), _STEP))
        return b"".join([self._stream.compress(step) for step in steps])

    def flush(self) -> bytes:
        """End the frame; all the rest."""
        return self._stream.flush()


def compressor(threads: int, image_format: ImageFormat) -> Compressor:
    """The compressor of layers of a format; its bytes do not depend on `threads` (at least 1)."""
    parameters = zstandard.ZstdCompressionParameters(**image_format.zstd, threads=max(1, threads))
    return Compressor(parameters)
