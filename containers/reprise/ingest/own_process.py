"""The program of a process that runs a reader of the user's own: READER PATH OPTIONS CODE_FOLDER…

A JSON line a record on standard output; at the end their number, or why there is no more. Standard library alone, and
nothing of ours: what the reader's code does to this process stays in it. What it prints goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


def main() -> None:
    reader, path, options, *roots = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.extend(roots)
    number, doing = 0, "it cannot be loaded"
    try:
        read = _load(reader)
        doing = "record 0"
        for record in read(Path(path), **json.loads(options)):
            _say(answers, {"record": _row(record)})
            number += 1
            doing = f"record {number}"
    except (Exception, SystemExit) as error:
        _say(answers, {"failed": f"{doing}: {_told(error, roots)}"})
    else:
        _say(answers, {"records": number})
    answers.flush()


def _load(reader: str) -> Any:
    module, _, name = reader.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _row(record: Any) -> dict[str, Any]:
    if not isinstance(record, Mapping) or not all(isinstance(name, str) for name in record):
        raise TypeError(f"it is {type(record).__name__}, expected a mapping of column names to values")
    return {name: _plain(name, value) for name, value in record.items()}


def _plain(name: str, value: Any) -> Any:
    """A value as JSON has it; arrays and their scalars, of any library, become lists and numbers."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes() | bytearray():
            return list(value)
        case list() | tuple():
            return [_plain(name, each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(name, value.tolist())
    raise TypeError(f"{name} is {type(value).__name__}, expected numbers, text, bytes, a list or an array")


def _told(error: BaseException, roots: list[str]) -> str:
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if any(map(frame.filename.startswith, roots))
    ]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _say(answers: TextIO, document: dict[str, Any]) -> None:
    answers.write(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
