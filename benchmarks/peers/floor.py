"""The least work that an image of these wheels and packages can be: run by build_image.py under the image's own Python.

Reads `{"zips": […], "debs": […], "cores": n}` from standard input. Each wheel is inflated once, each Python source
compiled once, each byte of content and bytecode hashed once (SHA-256) and compressed once (zstd level 3), on all cores,
the largest pieces first. Nothing is put in order, laid out, named, checked, kept or sent: a floor, not a builder. It
inflates with the builder's own ISA-L, and keeps memory as the builder does, so that it is no slower for its tools.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import lzma
import marshal
import os
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import zstandard
from isal import isal_zlib

GROUP = 8_000_000
"""Bytes of small files that are one task."""

PIECE = 1 << 18
"""Bytes that are read and inflated at once."""

Task = tuple[str, tuple[zipfile.ZipInfo, ...], int]
"""An archive, the members to do (none: all of a package), their bytes."""


def main() -> None:
    gc.disable()
    job = json.load(sys.stdin)
    tasks = sorted(all_tasks(job["zips"], job["debs"]), key=lambda task: -task[2])
    receive, send = os.pipe()
    for number in range(len(tasks)):
        os.write(send, number.to_bytes(4, "little"))
    os.close(send)
    children = [work(tasks, receive) for _ in range(job["cores"])]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0, "a worker of the floor failed"


def all_tasks(zips: list[str], debs: list[str]) -> Iterator[Task]:
    for path in zips:
        infos: list[zipfile.ZipInfo] = []
        for info in zipfile.ZipFile(path).infolist():
            infos.append(info)
            if sum(each.file_size for each in infos) > GROUP:
                yield path, tuple(infos), sum(each.file_size for each in infos)
                infos = []
        if infos:
            yield path, tuple(infos), sum(each.file_size for each in infos)
    for path in debs:
        yield path, (), 3 * Path(path).stat().st_size


def work(tasks: list[Task], queue: int) -> int:
    """Fork a worker that does tasks until there are none; its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        warnings.simplefilter("ignore")
        while number := os.read(queue, 4):
            do(tasks[int.from_bytes(number, "little")])
        status = 0
    finally:
        os._exit(status)


def do(task: Task) -> None:
    path, members, _ = task
    digest, packer = hashlib.sha256(), zstandard.ZstdCompressor(level=3).compressobj()
    for name, data in contents(path, members):
        digest.update(data)
        packer.compress(data)
        if name.endswith(".py") and (code := compiled(name, data)):
            digest.update(code)
            packer.compress(code)
    packer.flush()


def contents(path: str, members: tuple[zipfile.ZipInfo, ...]) -> Iterator[tuple[str, bytes]]:
    """Files in pieces or, if they are sources, whole."""
    if not members:
        yield from package_contents(Path(path).read_bytes())
        return
    with Path(path).open("rb", buffering=0) as file:
        for info in members:
            pieces = inflated(file.fileno(), info)
            if info.filename.endswith(".py"):
                yield info.filename, b"".join(pieces)
            else:
                yield from ((info.filename, piece) for piece in pieces)


def inflated(file: int, info: zipfile.ZipInfo) -> Iterator[bytes]:
    header = os.pread(file, 30, info.header_offset)
    start = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    inflate = isal_zlib.decompressobj(-15)
    for at in range(start, start + info.compress_size, PIECE):
        data = os.pread(file, min(PIECE, start + info.compress_size - at), at)
        yield inflate.decompress(data) if info.compress_type == zipfile.ZIP_DEFLATED else data


def package_contents(deb: bytes) -> Iterator[tuple[str, bytes]]:
    """The files of a Debian package (deb(5): an ar archive with data.tar.xz last)."""
    start = deb.rindex(b"data.tar.xz")
    size = int(deb[start + 48 : start + 58])
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(deb[start + 60 : start + 60 + size]))) as tar:
        for member in tar:
            if member.isreg() and (file := tar.extractfile(member)):
                yield member.name, file.read()


def compiled(name: str, source: bytes) -> bytes:
    try:
        return marshal.dumps(compile(source, name, "exec", dont_inherit=True, optimize=0))
    except (SyntaxError, ValueError):
        return b""


if __name__ == "__main__":
    main()
