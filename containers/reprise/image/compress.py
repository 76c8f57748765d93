"""The one way in which layers are compressed.

One version of libzstd and one level still give different bytes for: threads 0 or more, and size pledged or not
(measured; the size of the pieces fed in and 1, 2 or 4 threads make no difference). So it is always the multi-threaded
mode, the size is never pledged, and each parameter is written out. libzstd itself is pinned by the lock's zstandard
wheel. Not Python's zlib, bz2 or gzip: their libraries differ from machine to machine in what they write.
"""

from __future__ import annotations

import zstandard

_LEVEL_3 = {
    "window_log": 21,
    "chain_log": 16,
    "hash_log": 17,
    "search_log": 1,
    "min_match": 5,
    "target_length": 0,
    "strategy": zstandard.STRATEGY_DFAST,
}
"""What libzstd 1.5.7 means by level 3 for input of unknown size (zstd, lib/compress/clevels.h)."""

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


def compressor(threads: int) -> Compressor:
    """The compressor of layers; its bytes do not depend on `threads` (at least 1)."""
    parameters = zstandard.ZstdCompressionParameters(
        **_LEVEL_3,
        compression_level=3,
        format=zstandard.FORMAT_ZSTD1,
        write_content_size=False,
        write_checksum=False,  # both digests of a layer are checked by whoever pulls it
        write_dict_id=False,
        force_max_window=False,
        enable_ldm=False,
        job_size=8 << 20,  # bytes a thread works on at once; part of the format
        overlap_log=6,  # how much of the job before it each thread looks back on
        threads=max(1, threads),
    )
    return Compressor(parameters)
