"""CSV with a header (RFC 4180) and JSON lines: text files of rows."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NoReturn, cast

from reprise.ingest.files import SourceFile
from reprise.ingest.tables import TableRow, present_columns
from reprise_trainer.errors import InputError


def csv_rows(file: SourceFile, columns: Iterable[str]) -> Iterator[TableRow]:
    """The rows of a CSV file with a header; a row's number is that of its last line, as editors count, from 1.

    Args:
        file: the file.
        columns: those that are needed.

    Raises:
        InputError: no header, a column that is named twice or missing, or not UTF-8.
    """
    with _opened(file) as text:
        reader = csv.reader(text, strict=True)
        try:
            header = next(reader, [])
            if not header or len(set(header)) < len(header):
                raise InputError(f"{file.name}: expected a header that names each column once, found {header}")
            present_columns(header, columns, file.name)
            for cells in reader:
                if len(cells) != len(header):
                    yield reader.line_num, f"{len(cells)} cells, the header has {len(header)}"
                else:
                    yield reader.line_num, dict(zip(header, cells, strict=True))
        except (csv.Error, UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
            raise InputError(f"{file.name}, after row {reader.line_num}: not CSV in UTF-8: {error}") from error


def json_rows(file: SourceFile) -> Iterator[TableRow]:
    """The rows of a file with one JSON object a line; a row's number is its line's, from 1."""
    with _opened(file) as text:
        number = 0
        try:
            for number, line in enumerate(text, start=1):
                yield number, _parsed(line)
        except (UnicodeDecodeError, EOFError, OSError, zlib.error) as error:
            raise InputError(f"{file.name}, after row {number}: not text in UTF-8: {error}") from error


def _parsed(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    return found if isinstance(found, dict) else f"expected a JSON object, found {type(found).__name__}"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _opened(file: SourceFile) -> io.TextIOWrapper:
    """The file as text, unpacked where it is gzip; a byte order mark is dropped."""
    raw = file.path.open("rb")
    packed = raw.peek(2)[:2] == b"\x1f\x8b"
    return io.TextIOWrapper(cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw, "utf-8-sig", newline="")
