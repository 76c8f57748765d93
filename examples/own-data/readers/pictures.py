"""A reader of your own: pictures drawn with characters, as `[data]` of `kind = "own"` reads them."""

from collections.abc import Iterator
from pathlib import Path


def read(path: Path, *, ink: str = "#") -> Iterator[dict[str, object]]:
    """A record a picture: a line with its label, a line a row of pixels, an empty line.

    What a value must be is said in the configuration, and judged by whoever takes the record.
    """
    for picture in path.read_text().strip().split("\n\n"):
        label, *rows = picture.splitlines()
        yield {"label": label, "image": [[255 if pixel == ink else 0 for pixel in row] for row in rows]}
