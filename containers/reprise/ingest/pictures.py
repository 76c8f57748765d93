"""An image file's bytes → the pixels of one record."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING

from reprise.ingest.extra import need

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

LOSSY = (".jpg", ".jpeg", ".webp")
"""Formats whose pixels depend on the decoder; the others' are exact."""

_MODES = {1: "L", 3: "RGB"}

_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow's modes of at most 8 bits a channel; it cuts the others' values off at 255 when it converts them."""

_SIXTEEN_BITS = re.compile(r";16[BLN]$")
"""How Pillow's raw modes end where a file has 16 bits a channel (`RGB;16B`); `BGR;16` are 16 bits for a whole pixel."""


def decode_picture(data: bytes, shape: tuple[int, ...]) -> bytes:
    """The pixels of an image, 8 bits a channel.

    Args:
        data: the file.
        shape: (height, width) for grey, (height, width, 1 or 3) otherwise.

    Returns:
        The pixels in C order, as many bytes as `shape` has elements.

    Raises:
        ValueError: it is no image, or one of another size, or of more than 8 bits a channel.
    """
    image_module = need("PIL.Image", "images")
    channels = shape[2] if len(shape) == 3 else 1
    if len(shape) not in (2, 3) or channels not in _MODES:
        raise ValueError(f"an image cannot have shape {shape}; expected (height, width) or (height, width, 1 or 3)")
    try:
        with image_module.open(io.BytesIO(data)) as image:
            if (image.height, image.width) != shape[:2]:
                raise ValueError(f"the image is {image.height} x {image.width}, expected {shape[0]} x {shape[1]}")
            stored = _stored_mode(image)
            if stored not in _EIGHT_BITS:
                raise ValueError(
                    f"the image has mode {stored}, expected 8 bits a channel ({', '.join(_EIGHT_BITS)}); "
                    "16 bits or floats a channel are to be scaled beforehand"
                )
            pixels: bytes = image.convert(_MODES[channels]).tobytes()
    except (OSError, SyntaxError, image_module.DecompressionBombError) as error:
        raise ValueError(f"not an image that can be read: {error}") from error
    if len(pixels) != math.prod(shape):
        raise ValueError(f"{len(pixels)} bytes of pixels, expected {math.prod(shape)}")
    return pixels


def _stored_mode(image: ImageFile) -> str:
    """The mode of an opened image's file. Where Pillow has no mode for what a file holds, as for three channels of 16
    bits, it takes each value's high byte without a word, and only what it tells its decoder says so."""
    for tile in image.tile:
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        for each in arguments:
            if isinstance(each, str) and _SIXTEEN_BITS.search(each):
                return each
        if tile.codec_name == "ppm" and isinstance(arguments[-1], int) and arguments[-1] > 255:
            return f"{image.mode} with values up to {arguments[-1]}"
    return image.mode


def decoder(names: list[str]) -> dict[str, str | int | bool | tuple[str, ...] | tuple[int, ...] | None]:
    """What a snapshot says about the decoder: nothing while the formats are exact, else its versions."""
    if not any(name.lower().endswith(LOSSY) for name in names):
        return {}
    features = need("PIL.features", "images")
    found = {f"{name}": features.version(name) for name in ("pil", "libjpeg_turbo", "jpg", "webp")}
    return {name: str(version) for name, version in found.items() if version}
