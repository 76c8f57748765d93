from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterable, Iterator

import pytest
from image_inputs import read_tar, unpacked

from reprise.image.compress import compressor
from reprise.image.entries import Entry, directory, file, symlink
from reprise.image.formats import FORMATS
from reprise.image.layer import write_layer
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import decode_list, list_path

ENTRIES = [directory("etc/empty"), file("etc/a", b"1" * 1000), symlink("etc/b", "a"), file("root/c", b"", 0o755)]


def text(size: int) -> Iterator[bytes]:
    """Compressible bytes without a random module: numbers in decimal."""
    made, number = 0, 0
    while made < size:
        piece = b"".join(b"%d,%d;" % (n, n * n % 1009) for n in range(number, number + 9999))[: size - made]
        yield piece
        made, number = made + len(piece), number + 9999


@pytest.mark.parametrize("piece", [1 << 12, 100_003, 1 << 20, 1 << 26])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_compressed_bytes_depend_neither_on_threads_nor_on_the_pieces_fed_in(threads: int, piece: int) -> None:
    data = b"".join(text(20_000_000))
    packer = compressor(threads, FORMATS[1])
    packed = b"".join(packer.compress(data[at : at + piece]) for at in range(0, len(data), piece)) + packer.flush()
    reference = compressor(3, FORMATS[1])
    assert packed == reference.compress(data) + reference.flush()
    assert unpacked(packed) == data


def test_a_compressor_holds_back_no_more_than_its_threads_are_at_work_on() -> None:
    """Bytes that don't compress, faster than two threads take them. What waits for the end is memory."""
    packer, data = compressor(2, FORMATS[1]), random.Random(1).randbytes(128 << 20)
    for at in range(0, len(data), 1 << 20):
        packer.compress(data[at : at + (1 << 20)])
    assert len(packer.flush()) < 48_000_000, "its input buffer holds five jobs of 8 MiB"


def test_a_layer_holds_its_entries_their_folders_and_their_list() -> None:
    out = io.BytesIO()
    written = write_layer("test", ENTRIES, out)
    tar = unpacked(out.getvalue())
    assert written.digest == "sha256:" + hashlib.sha256(out.getvalue()).hexdigest()
    assert written.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert written.size == len(out.getvalue())
    found = read_tar(tar)
    name, listed = decode_list(written.file_list)
    assert name == "test"
    assert found.pop(list_path("test")).data == written.file_list
    assert list(found)[-3:] == ["usr/share", "usr/share/reprise", "usr/share/reprise/lists"]
    assert {file.path: (file.type, file.mode, file.size, file.target) for file in listed} == {
        path: (file.type, file.mode, len(file.data), file.target) for path, file in found.items()
    }
    for each in listed:
        assert each.sha256 == (hashlib.sha256(found[each.path].data).hexdigest() if each.type == "file" else "")
    assert found["root"].mode == 0o700


def test_folders_come_once_and_before_what_is_in_them() -> None:
    out = io.BytesIO()
    late = [lambda listed: [file("etc/later/x", b""), file("new/y", str(len(listed)).encode())]]
    write_layer("test", [file("etc-a", b""), file("etc/a/b", b""), file("etc.a", b"")], out, late=late)
    paths = list(read_tar(unpacked(out.getvalue())))
    assert paths[:8] == ["etc-a", "etc", "etc/a", "etc/a/b", "etc.a", "etc/later", "etc/later/x", "new"]


def test_a_path_that_comes_twice_is_named() -> None:
    with pytest.raises(InputError, match="/etc/a would be in its layer twice"):
        write_layer("test", [*ENTRIES, file("etc/a", b"")], io.BytesIO())


@pytest.mark.parametrize("pieces", [[b""], [b"12"], [b"12", b"34"]])
def test_a_file_of_another_size_than_its_header_says_is_named(pieces: list[bytes]) -> None:
    with pytest.raises(InputError, match=r"/a has \d bytes, its artifact says 3"):
        write_layer("test", [Entry("a", "file", 0o644, 3, content=lambda: pieces)], io.BytesIO())


class FullDisk(io.BytesIO):
    def write(self, data: object) -> int:
        raise OSError(28, "No space left on device")


def test_a_disk_that_fills_up_ends_the_writing_without_waiting() -> None:
    given = []

    def content() -> Iterable[bytes]:
        for _ in range(10_000):
            given.append(1)
            yield bytes(1 << 20)

    big = Entry("big", "file", 0o644, 10_000 << 20, content=content)
    with pytest.raises(OSError, match="No space left"):
        write_layer("test", [big], FullDisk())
    assert len(given) < 9_000


def test_an_error_while_reading_ends_the_writing() -> None:
    def content() -> Iterable[bytes]:
        yield b"1"
        raise InputError("damaged")

    with pytest.raises(InputError, match="damaged"):
        write_layer("test", [Entry("a", "file", 0o644, 2, content=content)], io.BytesIO())
