"""A layer's tar is read as Python's own `tarfile` reads it; what is damaged or of an unknown kind is refused."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.engine.interface import Layer
from reprise.engine.layer_stream import LayerStream
from reprise.engine.tar_members import Member, read_members
from reprise.image.tar_writer import END, header, padding
from reprise_trainer.errors import InputError

KINDS = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link"}

names = st.text(st.characters(exclude_characters="\0/", exclude_categories=("Cs",)), min_size=1, max_size=90)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)


@st.composite
def members(draw: st.DrawFn) -> tarfile.TarInfo:
    info = tarfile.TarInfo(draw(paths))
    info.type = draw(st.sampled_from(sorted(KINDS)))
    info.mode = draw(st.integers(0, 0o7777))
    info.mtime = draw(st.integers(0, 2**33))
    info.linkname = draw(paths) if info.issym() else ""
    info.size = draw(st.integers(0, 2000)) if info.isreg() else 0
    return info


def read(data: bytes) -> list[Member]:
    """All members, each with its bytes skipped."""
    file = io.BytesIO(data)
    stream = LayerStream(file, Layer("", "sha256:0", len(data), ""), file)
    found = []
    for member in read_members(stream):
        stream.skip(member.size + -member.size % tarfile.BLOCKSIZE)
        found.append(member)
    return found


def tar(*infos: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info in infos:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


@settings(deadline=None)
@given(st.lists(members(), max_size=5), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_it_finds_what_tarfile_finds(infos: list[tarfile.TarInfo], form: int) -> None:
    data = tar(*infos, form=form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [
            (each.name, KINDS[each.type], each.mode, each.size, int(each.mtime), each.linkname) for each in archive
        ]
    found = [
        (m.path.rstrip("/") if m.kind == "folder" else m.path, m.kind, m.mode, m.size, m.mtime, m.target)
        for m in read(data)
    ]
    assert found == expected


@settings(deadline=None)
@given(paths, st.sampled_from(["file", "directory", "symlink"]), st.integers(0, 0o7777), paths)
def test_it_reads_what_the_builder_writes(path: str, kind: str, mode: int, target: str) -> None:
    size = 700 if kind == "file" else 0
    link = target if kind == "symlink" else ""
    data = header(path, kind, mode, size, link) + bytes(size) + padding(size) + END  # type: ignore[arg-type]
    (found,) = read(data)
    assert (found.path.rstrip("/"), found.mode, found.size, found.target) == (path.rstrip("/"), mode, size, link)


def test_a_file_larger_than_an_octal_field_can_say_has_its_size() -> None:
    info = tarfile.TarInfo("x")
    info.size = 100 << 30
    file = io.BytesIO(info.tobuf(tarfile.GNU_FORMAT))
    assert next(read_members(LayerStream(file, Layer("", "", 512, ""), file))).size == 100 << 30


@given(st.integers(0, 511), st.integers(1, 255))
def test_a_header_with_one_changed_byte_is_refused(position: int, change: int) -> None:
    data = bytearray(tar(tarfile.TarInfo("name")))
    data[position] ^= change
    try:
        (found,) = read(bytes(data))
    except InputError as error:
        assert "is not a tar archive" in error.message
    else:
        assert found == read(tar(tarfile.TarInfo("name")))[0]  # the checksum's own blanks may be other blanks
        assert 148 <= position < 156


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x" * 100, "breaks off within a header"),
        (b"x" * 512, "no number"),
        (bytes(511) + b"x", "checksum is wrong"),
        (tar(tarfile.TarInfo("é" * 60))[:600], "breaks off within an extended header"),
    ],
)
def test_what_is_no_tar_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read(data)


@pytest.mark.parametrize(
    "body",
    [
        *(b"8 path=x\n", b"x path=x\n", b"11 path\n", b"30 path=x\n", b"12 size=1e3\n", b"11 size=-1\n"),
        *(b"30 mtime=99999999999999999999\n", b"29 size=99999999999999999999\n", b"5012 mtime=" + b"9" * 5000 + b"\n"),
        b"9" * 5000 + b" path=x\n",
    ],
)
def test_a_damaged_pax_record_is_refused(body: bytes) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(body)
    data = info.tobuf(tarfile.USTAR_FORMAT) + body + bytes(-len(body) % 512) + tar(tarfile.TarInfo("x"))
    with pytest.raises(InputError, match="is not a tar archive: a pax record"):
        read(data)


def test_a_time_after_all_time_is_refused() -> None:
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.GNU_FORMAT))
    block[136:148] = b"\x80" + b"\xff" * 11  # GNU's binary form
    block[148:156] = b"%06o\0 " % (sum(block) - sum(block[148:156]) + 8 * 32)
    with pytest.raises(InputError, match="too large a number"):
        read(bytes(block))


def test_a_header_for_all_files_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "other"}) as archive:
        archive.addfile(tarfile.TarInfo("x"))
    with pytest.raises(InputError, match="holds for more than one file"):
        read(buffer.getvalue())
