"""A reader of the user's own: code that is pinned by its digest like the files it reads, in a process of its own.

What it gives is treated as a table's rows: types, shapes, ranges, labels and equal records are judged here, not there.
The process gets none of this one's environment and an empty folder to stand in, so that records follow from the files
and the options. It is no jail: the code does what its user may, as a plain script would (docs/threat-model.md).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprise.ingest.files import stored_file, stored_folder
from reprise.ingest.rows import Reading
from reprise.ingest.tables import TableRow, table_fields, table_reading
from reprise.store import Store
from reprise_trainer.config.data import OwnDataSection, Place
from reprise_trainer.data.snapshot import Preprocessing
from reprise_trainer.errors import InputError
from reprise_trainer.identity.own_code import unpack_code

_PROGRAM = Path(__file__).with_name("own_process.py")


def read_own(data: OwnDataSection, store: Store) -> Reading:
    """The rows that a reader of the user's own gives.

    Args:
        data: the section, its code pinned.
        store: holds the files, and the code's archive.

    Raises:
        NotFoundError: the store does not hold them.
        InputError: the rules contradict themselves, or the archive is damaged; when rows are read: the reader is not
            there, fails, or gives something else than records.
    """
    fields = table_fields(data.fields)
    code = store.read(f"sha256:{data.code.sha256}")
    options = json.dumps(data.model_dump(mode="json", include={"options"})["options"], sort_keys=True)
    rows = {
        split: (place.file or place.artifact, _rows(data, place, code, options, store))
        for split, place in data.files.items()
    }
    step = Preprocessing(
        step="reader", parameters={"function": data.reader, "code": data.code.sha256, "options": options}
    )
    reading = table_reading(fields, data.fields, rows)
    return replace(reading, preprocessing=(step, *reading.preprocessing))


def _rows(data: OwnDataSection, place: Place, code: bytes, options: str, store: Store) -> Iterator[TableRow]:
    """The records of one place, numbered from 0."""
    with tempfile.TemporaryDirectory(dir=store.cache, prefix="reader-") as name:
        folder = Path(name).resolve()
        unpack_code(code, folder / "code")
        roots = sorted((folder / "code").iterdir())
        source = _place(data, place, folder / "source", store)
        (folder / "work").mkdir()
        arguments = [sys.executable, "-P", "-s", str(_PROGRAM), data.reader, str(source), options, *map(str, roots)]
        number = 0
        with _process(arguments, folder / "work") as process:
            assert process.stdout is not None
            for line in process.stdout:
                match _answer(line):
                    case {"record": row}:
                        yield number, row
                        number += 1
                    case {"failed": reason}:
                        raise InputError(f"data.reader: {data.reader!r} on {place.file or place.artifact}: {reason}")
                    case {"records": count} if count == number:
                        return
        raise InputError(
            f"data.reader: {data.reader!r} on {place.file or place.artifact}: the process ended with code "
            f"{process.returncode} after {number} records"
        )


@contextmanager
def _process(arguments: list[str], work: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(work),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with subprocess.Popen(
        arguments, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _answer(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _place(data: OwnDataSection, place: Place, folder: Path, store: Store) -> Path:
    """The file or folder of a place under its own name, as links to the store's blobs."""
    folder.mkdir()
    if not data.folders:
        file = stored_file(place, store)
        path = folder / Path(file.name).name
        path.symlink_to(file.path.resolve())
        return path
    root = folder / (Path(place.file).name or "files")
    for file in stored_folder(place, store):
        path = root / file.name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(file.path.resolve())
    return root
