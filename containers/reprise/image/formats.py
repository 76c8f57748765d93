"""The image formats: everything in the way layers are written that a new version of a tool or of this project changes.

An image built once must come out of its lock for ever, so an entry of this table never changes and never goes. New
bytes are a new entry: another libzstd, another parameter, another layout. Which one an image has is in its environment
file (`format = 2`) or in its lock, and in the cache key of each layer. tests/image/test_formats.py holds what each
format gives, bit by bit.

Standard library alone, and none of it slow: reading a lock needs this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reprise_trainer.errors import InputError


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """One frozen way of writing layers.

    `number` names it. `libzstd` is the only version whose bytes it accepts, and `wheel` the requirement that brings it.
    `zstd` are the parameters of `zstandard.ZstdCompressionParameters` but the number of threads, each written out:
    a default could move with a version.
    """

    number: int
    libzstd: tuple[int, int, int]
    wheel: str
    zstd: Mapping[str, int]


_LEVEL_3: Mapping[str, int] = MappingProxyType(
    {
        "compression_level": 3,
        "window_log": 21,
        "chain_log": 16,
        "hash_log": 17,
        "search_log": 1,
        "min_match": 5,
        "target_length": 0,
        "strategy": 2,  # ZSTD_dfast
        "format": 0,  # frames with zstd's magic number
        "write_content_size": 0,
        "write_checksum": 0,  # both digests of a layer are checked by whoever pulls it
        "write_dict_id": 0,
        "force_max_window": 0,
        "enable_ldm": 0,
        "job_size": 8 << 20,  # bytes a thread works on at once
        "overlap_log": 6,  # how much of the job before it each thread looks back on
    }
)
"""What libzstd 1.5.6 and 1.5.7 mean by level 3 for input of unknown size (zstd, lib/compress/clevels.h)."""

FORMATS: Mapping[int, ImageFormat] = MappingProxyType(
    {
        each.number: each
        for each in (
            ImageFormat(1, (1, 5, 7), "zstandard==0.25.0", _LEVEL_3),
            ImageFormat(2, (1, 5, 6), "zstandard==0.23.0", _LEVEL_3),
        )
    }
)
"""Format 2 is for those who are held to the older library; its layers are 0.6 % larger (docs/decisions/0008)."""

DEFAULT_FORMAT = 1
"""The format of a new lock whose environment file names none: the one with the newest libzstd."""


def image_format(number: int, where: str) -> ImageFormat:
    """The format of this number.

    Args:
        number: as an environment or a lock names it.
        where: what names it, for the message.

    Raises:
        InputError: there is none; the message lists those that there are.
    """
    if number not in FORMATS:
        known = ", ".join(map(str, sorted(FORMATS)))
        raise InputError(
            f"{where} names image format {number}; this version of reprise writes {known}",
            hint="Name one of these, or use the version of reprise that the image was built with.",
        )
    return FORMATS[number]


def require_libzstd(image_format: ImageFormat, found: tuple[int, int, int]) -> None:
    """Refuse a libzstd whose bytes are not the format's.

    Raises:
        InputError: `found`, the version that the lock's zstandard wheel brings, is another one.
    """
    if found == image_format.libzstd:
        return
    fitting = [each.number for each in FORMATS.values() if each.libzstd == found]
    other = f", or choose `format = {fitting[0]}`" if fitting else ""
    raise InputError(
        f"image format {image_format.number} is written by libzstd {_dotted(image_format.libzstd)}, but the lock's "
        f"zstandard wheel brings {_dotted(found)}, which gives other bytes",
        hint=f"Ask for {image_format.wheel} under [pypi] build in the environment file{other}, and lock it again.",
    )


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
