"""What an image file holds comes out as it is, or the file is refused: no value is cut in silence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from reprise.ingest.pictures import decode_picture

GREY, COLOUR, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 4, 6
CHANNELS = {GREY: 1, COLOUR: 3, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
RANDOM = np.random.default_rng(7)


def png(colour_type: int, depth: int) -> tuple[bytes, np.ndarray]:
    """A PNG of 4 x 5 random pixels, as the specification of PNG says, with the pixels.

    Pillow writes none of 16 bits in colour. Source: W3C, Portable Network Graphics, sections 5.3 and 11.2.
    """
    pixels = RANDOM.integers(0, 2**depth, (4, 5, CHANNELS[colour_type]), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else np.uint8).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 5, 4, depth, colour_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks), pixels


def ppm(greatest: int) -> bytes:
    """A PPM of 4 x 5 pixels. Source: ppm(5)."""
    values = np.arange(60).astype(">u2" if greatest > 255 else np.uint8)
    return b"P6\n5 4\n%d\n" % greatest + values.tobytes()


def tiff(depth: int) -> bytes:
    """An uncompressed TIFF of 4 x 5 pixels in colour. Source: TIFF 6.0, sections 2 and 6 ("RGB Full Color Images")."""
    pixels = np.arange(60).astype("<u2" if depth == 16 else np.uint8).tobytes()
    short, long = 3, 4
    bits_at = 8 + 2 + 9 * 12 + 4
    entries = [
        (256, long, 1, 5),  # ImageWidth
        (257, long, 1, 4),  # ImageLength
        (258, short, 3, bits_at),  # BitsPerSample
        (259, short, 1, 1),  # Compression: none
        (262, short, 1, 2),  # PhotometricInterpretation: RGB
        (273, long, 1, bits_at + 6),  # StripOffsets
        (277, short, 1, 3),  # SamplesPerPixel
        (278, long, 1, 4),  # RowsPerStrip
        (279, long, 1, len(pixels)),  # StripByteCounts
    ]
    folder = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *each) for each in entries)
    return struct.pack("<2sHI", b"II", 42, 8) + folder + bytes(4) + struct.pack("<3H", *[depth] * 3) + pixels


@pytest.mark.parametrize("colour_type", CHANNELS)
def test_sixteen_bits_a_channel_are_refused_in_every_kind_of_png(colour_type: int) -> None:
    data, _ = png(colour_type, 16)
    shape = (4, 5) if colour_type in (GREY, GREY_ALPHA) else (4, 5, 3)
    with pytest.raises(ValueError, match=r"has mode .*;16.*, expected 8 bits a channel .* scaled beforehand"):
        decode_picture(data, shape)


def test_sixteen_bits_a_channel_are_refused_in_other_formats() -> None:
    with pytest.raises(ValueError, match="RGB with values up to 1000, expected 8 bits"):
        decode_picture(ppm(1000), (4, 5, 3))
    with pytest.raises(ValueError, match=r"mode RGB;16L, expected 8 bits"):
        decode_picture(tiff(16), (4, 5, 3))


@pytest.mark.parametrize("colour_type", [GREY, COLOUR])
def test_eight_bits_a_channel_come_out_as_they_are(colour_type: int) -> None:
    data, pixels = png(colour_type, 8)
    shape = (4, 5, 3) if colour_type == COLOUR else (4, 5)
    assert decode_picture(data, shape) == pixels.astype(np.uint8).tobytes()
    for plain in (ppm(255), tiff(8)):
        assert decode_picture(plain, (4, 5, 3)) == bytes(range(60))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "TGA"])
def test_what_pillow_writes_without_loss_is_read_back(kind: str) -> None:
    pixels = np.repeat(RANDOM.integers(0, 256, (4, 5, 1), dtype=np.uint8), 3, axis=2)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert decode_picture(file.getvalue(), (4, 5, 3)) == pixels.tobytes()
