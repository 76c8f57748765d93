"""Folders of image files, a folder a class → rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from reprise.ingest.files import SourceFile
from reprise.ingest.pictures import decode_picture, decoder
from reprise.ingest.rows import WHOLE_FILE, BadRow, Reading, Rows
from reprise_trainer.data.snapshot import Preprocessing, RecordField
from reprise_trainer.errors import InputError


def read_images(files: Mapping[str, list[SourceFile]], *, size: tuple[int, int], colour: str) -> Reading:
    """The rows of image files, by path; an image's class is the folder that it lies in.

    Args:
        files: split → its files.
        size: height and width that every image must have.
        colour: `grey` for one channel (shape: height, width), `rgb` for three (height, width, 3).

    Raises:
        InputError: a file lies in no class's folder, or there are too many classes.
    """
    for split, each in files.items():
        if loose := [file.name for file in each if len(PurePosixPath(file.name).parts) != 2]:
            raise InputError(f"data.files.{split}: {loose[0]} does not lie in the folder of a class")
    classes = tuple(sorted({PurePosixPath(file.name).parts[0] for each in files.values() for file in each}))
    shape = size if colour == "grey" else (*size, 3)
    fields = (
        RecordField(name="image", dtype="uint8", shape=shape),
        RecordField(name="label", dtype="uint8" if len(classes) <= 256 else "int32", shape=(), classes=classes),
    )
    names = [file.name for each in files.values() for file in each]
    steps = (Preprocessing(step="decode_images", parameters={"colour": colour, **decoder(names)}),)
    return Reading(fields, {split: _rows(each, fields) for split, each in files.items()}, steps)


def _rows(files: list[SourceFile], fields: tuple[RecordField, RecordField]) -> Iterator[Rows]:
    image, label = fields
    classes = label.classes or ()
    for file in files:
        try:
            pixels = decode_picture(file.path.read_bytes(), image.shape)
        except ValueError as error:
            yield Rows(file.name, [], {"image": b"", "label": b""}, (BadRow(file.name, WHOLE_FILE, str(error)),))
            continue
        number = classes.index(PurePosixPath(file.name).parts[0])
        yield Rows(file.name, [WHOLE_FILE], {"image": pixels, "label": number.to_bytes(label.element_bytes, "little")})
