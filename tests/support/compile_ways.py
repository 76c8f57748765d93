"""Compiles the sources of wheels and packages; run under the image's Python by tests/image/test_bytecode.py.

Standard input: JSON {"way": "a fork a file" | "one process" | "backwards", "debs": [path…], "wheels": [path…]}.
Standard output: JSON {path: sha256 of the bytecode}.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from reprise.image.bytecode import bytecode, in_a_fork, is_compiled
from reprise.image.deb import read_deb
from reprise.image.entries import Entry
from reprise.image.format import running_python
from reprise.image.wheel import read_wheel


def main() -> int:
    asked = json.load(sys.stdin)
    layout = running_python()
    entries = [entry for path in asked["debs"] for entry in read_deb(Path(path), path)]
    entries += [entry for path in asked["wheels"] for entry in read_wheel(Path(path), path, layout).entries]
    sources = [entry for entry in entries if is_compiled(entry, layout)]
    compiler = in_a_fork if asked["way"] == "a fork a file" else bytecode
    if asked["way"] == "backwards":
        sources.reverse()
    json.dump(_digests(sources, compiler), sys.stdout)
    return 0


def _digests(sources: Iterable[Entry], compiler: Callable[[bytes, str], bytes | None]) -> dict[str, str]:
    return {entry.path: hashlib.sha256(compiler(entry.read(), entry.path) or b"").hexdigest() for entry in sources}
