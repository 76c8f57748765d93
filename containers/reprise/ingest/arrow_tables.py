"""Parquet files, and folders that Hugging Face's `datasets` saved: tables in Arrow's memory format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from reprise.ingest.extra import need
from reprise.ingest.files import SourceFile
from reprise.ingest.tables import TableRow, present_columns
from reprise_trainer.errors import InputError

_BATCH = 4096


def parquet_rows(file: SourceFile, columns: Iterable[str]) -> Iterator[TableRow]:
    """The rows of a Parquet file, numbered from 0.

    Args:
        file: the file.
        columns: those that are needed; others are not read.

    Raises:
        InputError: not a Parquet file, or it lacks a column.
    """
    arrow, parquet = need("pyarrow", "Parquet"), need("pyarrow.parquet", "Parquet")
    try:
        table = parquet.ParquetFile(file.path)
        names = present_columns(list(table.schema_arrow.names), columns, file.name)
        yield from _numbered(table.iter_batches(batch_size=_BATCH, columns=names))
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"{file.name}: not a Parquet file that can be read: {error}") from error


def saved_splits(files: list[SourceFile], name: str) -> dict[str, list[SourceFile]]:
    """Split → files of what `save_to_disk` left: a dictionary of splits, or one data set, which is then `train`."""
    listed = {file.name: file for file in files}
    if "dataset_dict.json" not in listed:
        return {"train": files}
    try:
        splits: list[str] = json.loads(listed["dataset_dict.json"].path.read_bytes())["splits"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{name}/dataset_dict.json: not what `datasets` writes: {error}") from error
    found = {}
    for split in splits:
        below = [
            SourceFile(each.name[len(split) + 1 :], each.path) for each in files if each.name.startswith(f"{split}/")
        ]
        found[split] = below
    return found


def saved_rows(files: list[SourceFile], columns: Iterable[str], name: str) -> Iterator[TableRow]:
    """The rows of one saved data set, over all of its files in order, numbered from 0.

    Raises:
        InputError: not what `save_to_disk` leaves, or it lacks a column.
    """
    arrow = need("pyarrow", "Hugging Face's data sets")
    listed = {PurePosixPath(file.name).name: file for file in files}
    try:
        state = json.loads(listed["state.json"].path.read_bytes())
        parts = [listed[each["filename"]] for each in state["_data_files"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{name}: not what `save_to_disk` leaves; {error} is missing or wrong") from error
    if state.get("_indices_data_files"):
        raise InputError(
            f"{name}: it was saved with an index beside it", hint="Call flatten_indices() and save it again."
        )
    start = 0
    for part in parts:
        try:
            with arrow.memory_map(str(part.path)) as source, arrow.ipc.open_stream(source) as stream:
                names = present_columns(list(stream.schema.names), columns, name)
                for _, row in _numbered(batch.select(names) for batch in stream):
                    yield start, row
                    start += 1
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{name}/{part.name}: not an Arrow stream that can be read: {error}") from error


def saved_classes(files: list[SourceFile]) -> dict[str, tuple[str, ...]]:
    """Column → class names, for the columns that are `ClassLabel`s."""
    found: dict[str, tuple[str, ...]] = {}
    for file in files:
        if PurePosixPath(file.name).name == "dataset_info.json":
            features: dict[str, Any] = json.loads(file.path.read_bytes()).get("features") or {}
            for column, feature in features.items():
                if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
                    found[column] = tuple(feature["names"])
    return found


def _numbered(batches: Iterable[Any]) -> Iterator[TableRow]:
    number = 0
    for batch in batches:
        columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        for row in range(batch.num_rows):
            yield number, {name: values[row] for name, values in columns.items()}
            number += 1
