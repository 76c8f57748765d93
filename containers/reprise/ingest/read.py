"""A `[data]` section → what its reader gives."""

from __future__ import annotations

from reprise.ingest.arrays import read_arrays
from reprise.ingest.arrow_tables import parquet_rows, saved_classes, saved_rows, saved_splits
from reprise.ingest.fashion_mnist import read_fashion_mnist
from reprise.ingest.files import deb_members, stored_file, stored_folder
from reprise.ingest.images import read_images
from reprise.ingest.own import read_own
from reprise.ingest.rows import Reading
from reprise.ingest.tables import table_fields, table_reading
from reprise.ingest.text import read_text
from reprise.ingest.text_tables import csv_rows, json_rows
from reprise.store import Store
from reprise_trainer.config.data import (
    ArraysSection,
    FashionMnistSection,
    ImagesSection,
    MadeData,
    OwnDataSection,
    TableSection,
    TextSection,
)


def read_data(data: MadeData, store: Store) -> Reading:
    """The rows of a data section, from the store.

    Raises:
        InputError: a file is not what the section says.
        NotFoundError: the store does not hold a file.
        SystemFailureError: a library that the format needs is not installed.
    """
    match data:
        case FashionMnistSection():
            members = deb_members(data, store)
            return read_fashion_mnist({path.rpartition("/")[2]: found for path, found in members.items()})
        case TextSection():
            file = stored_file(data, store)
            return read_text(
                file.path.read_bytes(), file.name, block=data.block, stride=data.stride, encoding=data.encoding
            )
        case TableSection():
            return _read_tables(data, store)
        case ArraysSection():
            found = {
                split: {name: stored_file(place, store) for name, place in each.items()}
                for split, each in data.files.items()
            }
            return read_arrays(found, data.fields)
        case ImagesSection():
            folders = {split: stored_folder(place, store) for split, place in data.files.items()}
            return read_images(folders, size=(data.size[0], data.size[1]), colour=data.colour)
        case OwnDataSection():
            return read_own(data, store)


def _read_tables(data: TableSection, store: Store) -> Reading:
    if data.kind == "hugging-face":
        return _read_saved(data, store)
    fields = table_fields(data.fields)
    files = {split: stored_file(place, store) for split, place in data.files.items()}
    columns = [column for field in fields for column in field.columns]
    match data.kind:
        case "csv":
            rows = {split: csv_rows(file, columns) for split, file in files.items()}
        case "json-lines":
            rows = {split: json_rows(file) for split, file in files.items()}
        case "parquet":
            rows = {split: parquet_rows(file, columns) for split, file in files.items()}
    return table_reading(fields, data.fields, {split: (files[split].name, rows[split]) for split in files})


def _read_saved(data: TableSection, store: Store) -> Reading:
    """Each place is a data set, or a dictionary of splits, whose names count then."""
    found = {
        (split if len(parts) == 1 else name): (place.file, files)
        for split, place in data.files.items()
        for parts in [saved_splits(stored_folder(place, store), place.file)]
        for name, files in parts.items()
    }
    classes = saved_classes([file for _, files in found.values() for file in files])
    fields = table_fields(data.fields, classes)
    columns = [column for field in fields for column in field.columns]
    rows = {split: (name, saved_rows(files, columns, name)) for split, (name, files) in found.items()}
    return table_reading(fields, data.fields, rows)
