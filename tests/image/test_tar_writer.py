from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reprise.image.tar_writer import END, header, padding

NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=80).filter(
    lambda name: name not in (".", "..")
)
PATH = st.lists(NAME, min_size=1, max_size=6).map("/".join)


def archive(*members: tuple[str, bytes]) -> bytes:
    pieces = [header(path, "file", 0o644, len(data)) + data + padding(len(data)) for path, data in members]
    return b"".join([*pieces, END])


@given(PATH, st.binary(max_size=1500), st.sampled_from([0o644, 0o755, 0o1777]))
def test_any_name_and_content_is_read_back(path: str, data: bytes, mode: int) -> None:
    tar = header(path, "file", mode, len(data)) + data + padding(len(data)) + END
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
        (info,) = opened.getmembers()
        stream = opened.extractfile(info)
        assert stream is not None
        assert (info.name, info.mode, stream.read()) == (path, mode, data)
        assert (info.uid, info.gid, info.uname, info.gname, info.mtime) == (0, 0, "", "", 315_532_800)


@given(PATH, PATH)
def test_any_link_and_folder_is_read_back(path: str, target: str) -> None:
    tar = header(f"{path}_", "directory", 0o755) + header(path, "symlink", 0o777, target=target) + END
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as opened:
        folder, link = opened.getmembers()
        assert (folder.isdir(), folder.name) == (True, f"{path}_")
        assert (link.issym(), link.name, link.linkname) == (True, path, target)


@given(PATH)
def test_a_header_is_whole_blocks_and_ascii_paths_of_up_to_100_bytes_need_one(path: str) -> None:
    blocks, rest = divmod(len(header(path, "file", 0o644)), 512)
    assert rest == 0
    if path.isascii() and len(path) <= 100:
        assert blocks == 1


def test_gnu_tar_unpacks_long_deep_and_foreign_names(tmp_path: Path) -> None:
    members = {
        "short": b"1",
        "/".join(["folder"] * 30): b"2",
        f"{'d' * 150}/{'f' * 100}": b"3",
        f"{'d' * 156}/{'f' * 100}": b"4",
        "n" * 200: b"5",
        "größe/日本語/\N{SNOWMAN} and space": b"6",
        "new\nline": b"7",
    }
    (tmp_path / "a.tar").write_bytes(archive(*members.items()))
    done = subprocess.run(
        ["tar", "-xf", "a.tar", "--warning=all"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert {path: (tmp_path / path).read_bytes() for path in members} == members


def test_files_beyond_8_gib_get_their_size_from_a_pax_record() -> None:
    info = tarfile.TarInfo.frombuf(header("big", "file", 0o644, 8**11)[-512:], "utf-8", "strict")
    assert info.size == 0
    assert b"19 size=8589934592\n" in header("big", "file", 0o644, 8**11)
    assert len(header("big", "file", 0o644, 8**11 - 1)) == 512
