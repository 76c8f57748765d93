"""Unpack layers, one after the other: `python -m reprise.engine.unpack_process FOLDER`, one JSON line a layer.

The answers are JSON lines, too: `{"position": bytes of the blob so far}` now and then; `{"unpacked": true}`, on which
the process waits for one more line before the layer appears; last `{"done": true}`, or
`{"error": class, "message": …, "hint": …}`.
"""

from __future__ import annotations

import json
import os
import select
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from reprise.engine.growing_file import GrowingFile
from reprise.engine.interface import Layer
from reprise.engine.unpack import unpack_layer
from reprise_trainer.errors import RepriseError

_LOOK_SECONDS = 0.005


def main() -> None:
    folder = Path(sys.argv[1])
    while line := _line():
        job = json.loads(line)
        files, grows = [Path(each) for each in job.pop("files")], job.pop("grows")
        layer = Layer(**job)
        try:
            with closing(GrowingFile(files, layer.size if grows else 0, _pause)) as file:
                unpack_layer(file, layer, folder, lambda position: _say({"position": position}), _confirm)
        except RepriseError as error:
            _say({"error": type(error).__name__, "message": error.message, "hint": error.hint})
        else:
            _say({"done": True})


def _line() -> bytes:
    """The next line of standard input, read without a buffer, so that `select` knows all about it; empty at its end."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _pause() -> None:
    """Wait a moment for more bytes of a file; whoever asked for it ends this process when none will come."""
    if select.select([0], [], [], _LOOK_SECONDS)[0]:
        sys.exit(1)  # standard input ended: nobody wants it any more


def _confirm() -> None:
    _say({"unpacked": True})
    if not _line():
        sys.exit(1)


def _say(document: dict[str, Any]) -> None:
    os.write(1, json.dumps(document).encode() + b"\n")


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # nobody wants it any more
        main()
