"""The list of a layer's own files: what the layer holds, path by path, so that a running image can be compared.

Each layer carries its list at `LISTS_FOLDER/<layer>.json`. The list does not name itself (it cannot hold its own
hash); the inventory holds its digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError

FORMAT = 1
REPRISE_FOLDER = "usr/share/reprise"
LISTS_FOLDER = f"{REPRISE_FOLDER}/lists"

FileType = Literal["file", "directory", "symlink"]
_CODES: dict[FileType, str] = {"file": "f", "directory": "d", "symlink": "l"}
_TYPES: dict[str, FileType] = {code: kind for kind, code in _CODES.items()}


class ListedFile(NamedTuple):
    """One path of a layer. `path` is relative to the root, without a leading slash.

    `size` and `sha256` are of a file's bytes, `target` of a symlink's text; they are 0 or empty where they don't
    apply. `mode` holds the permission bits alone. Owner and group are 0 everywhere; times are one constant.

    A tuple, since every start of a run makes 25,000 of them: a frozen dataclass takes four times as long.
    """

    path: str
    type: FileType
    mode: int
    size: int = 0
    sha256: str = ""
    target: str = ""


def list_path(layer: str) -> str:
    """Where the layer named `layer` carries its list, relative to the root."""
    return f"{LISTS_FOLDER}/{layer}.json"


def encode_list(layer: str, files: Iterable[ListedFile]) -> bytes:
    """Canonical bytes of a layer's list, sorted by path bytes; 12,000 rows take 1.5 MB."""
    rows: list[list[str | int]] = []
    for file in sorted(files, key=lambda f: f.path.encode()):
        row: list[str | int] = [_CODES[file.type], file.path, file.mode]
        match file.type:
            case "file":
                row += [file.size, file.sha256]
            case "symlink":
                row += [file.target]
        rows.append(row)
    return canonical_json({"format": FORMAT, "layer": layer, "files": rows})


def decode_list(data: bytes) -> tuple[str, list[ListedFile]]:
    """The layer's name and its files, from canonical bytes.

    Raises:
        InputError: the bytes are not a list of this format.
    """
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise InputError(f"file list has format {document['format']!r}, this version reads format {FORMAT}")
        return document["layer"], [_decode_row(row) for row in document["files"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"not a layer's file list: {error}") from error


def _decode_row(row: list[Any]) -> ListedFile:
    kind = _TYPES[row[0]]
    path, mode = str(row[1]), int(row[2])
    if kind == "file":
        return ListedFile(path, kind, mode, int(row[3]), str(row[4]))
    if kind == "symlink":
        return ListedFile(path, kind, mode, target=str(row[3]))
    return ListedFile(path, kind, mode)
