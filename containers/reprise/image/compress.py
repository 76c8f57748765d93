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


def compressor(threads: int) -> zstandard.ZstdCompressionObj:
    """A compressor with `compress(data)` and `flush()`; its bytes do not depend on `threads` (at least 1)."""
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
    return zstandard.ZstdCompressor(compression_params=parameters).compressobj()
