"""An image file's bytes → the pixels of one record."""

from __future__ import annotations

import io
import math

from reprise.ingest.extra import need

LOSSY = (".jpg", ".jpeg", ".webp")
"""Formats whose pixels depend on the decoder; the others' are exact."""

_MODES = {1: "L", 3: "RGB"}

_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Pillow's modes of at most 8 bits a channel; it cuts the others' values off at 255 when it converts them."""


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
            if image.mode not in _EIGHT_BITS:
                raise ValueError(
                    f"the image has mode {image.mode}, expected 8 bits a channel ({', '.join(_EIGHT_BITS)}); "
                    "16 bits or floats a channel are to be scaled beforehand"
                )
            pixels: bytes = image.convert(_MODES[channels]).tobytes()
    except (OSError, SyntaxError, image_module.DecompressionBombError) as error:
        raise ValueError(f"not an image that can be read: {error}") from error
    if len(pixels) != math.prod(shape):
        raise ValueError(f"{len(pixels)} bytes of pixels, expected {math.prod(shape)}")
    return pixels


def decoder(names: list[str]) -> dict[str, str | int | bool | tuple[str, ...] | tuple[int, ...] | None]:
    """What a snapshot says about the decoder: nothing while the formats are exact, else its versions."""
    if not any(name.lower().endswith(LOSSY) for name in names):
        return {}
    features = need("PIL.features", "images")
    found = {f"{name}": features.version(name) for name in ("pil", "libjpeg_turbo", "jpg", "webp")}
    return {name: str(version) for name, version in found.items() if version}
