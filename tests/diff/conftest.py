"""A small image with a wheel, a Debian package, bytecode and links, to make sabotaged copies of."""

from __future__ import annotations

import gzip
import importlib.util
import marshal
from pathlib import Path

import pytest
from small_image import Entry, SmallImage, make_image

from reprise.store import Store

PACKAGES = "usr/local/lib/python3.11/dist-packages"
SOURCE = b"def area(r):\n    return 3 * r * r\n"


def pyc(source: bytes, flags: int = 1, name: str = "/small/shape.py") -> bytes:
    header = importlib.util.MAGIC_NUMBER + flags.to_bytes(4, "little")
    checked = importlib.util.source_hash(source) if flags else (1_700_000_000).to_bytes(4, "little") + bytes(4)
    return header + checked + marshal.dumps(compile(source, name, "exec"))


def record(*paths: str) -> bytes:
    return "".join(f"{path},,\n" for path in paths).encode()


LAYERS = {
    "base": {
        "etc/passwd": Entry(b"root:x:0:0::/root:/bin/false\n"),
        "tmp": Entry(mode=0o1777),
        "usr/bin/run": Entry(b"#!/opt/env/bin/python3.11\nimport shape\n", mode=0o755),
    },
    "deb": {
        "usr/lib/libdemo.so": Entry(b"\x7fELF\0\0/opt/env/share/locale\0" + bytes(64) + b"end\0", mode=0o755),
        "usr/share/demo/about": Entry(b"built 2026-01-02T03:04:05Z\nby nobody\n"),
        "usr/share/demo/about.gz": Entry(gzip.compress(b"text\n" * 100, 6, mtime=1)),
        "var/lib/dpkg/status.d/demo": Entry(
            b"Package: demo\nVersion: 1:2-3\nArchitecture: amd64\nDescription: x\n y\n"
        ),
        "var/lib/dpkg/status.d/demo.md5sums": Entry(
            b"00  lib/libdemo.so\n00  usr/share/demo/about\n00  usr/share/demo/about.gz\n"
        ),
    },
    "wheels": {
        f"{PACKAGES}/shape.py": Entry(SOURCE),
        f"{PACKAGES}/__pycache__/shape.cpython-311.pyc": Entry(pyc(SOURCE)),
        f"{PACKAGES}/names.txt": Entry(b"one\ntwo\nthree\n"),
        f"{PACKAGES}/latest": Entry(target="names.txt"),
        f"{PACKAGES}/shape-1.0.dist-info/RECORD": Entry(record("shape.py", "latest", "shape-1.0.dist-info/RECORD")),
        f"{PACKAGES}/other_names-2.0.dist-info/RECORD": Entry(record("names.txt", "../../../bin/names")),
        "usr/local/bin/names": Entry(b"#!/usr/bin/python3\n", mode=0o755),
    },
}


@pytest.fixture
def image(tmp_path: Path) -> SmallImage:
    return make_image(Store.open(tmp_path / "store"), LAYERS)
