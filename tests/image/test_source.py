from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from image_inputs import read_tar

from reprise.image.format import PythonLayout
from reprise.image.source import read_source, source_archive
from reprise_trainer.errors import InputError, NotFoundError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_bytes(b"1\n")
    (folder / "sub" / "b.py").write_bytes(b"2\n")
    (folder / "sub" / "run").write_bytes(b"#!/bin/sh\n")
    (folder / "sub" / "run").chmod(0o744)
    return folder


def test_the_archive_of_a_folder_is_this_constant(folder: Path) -> None:
    digest = hashlib.sha256(source_archive(folder)).hexdigest()
    assert digest == "3aab1eac19b1aff22bbd4f161314ba850ab7684dd034d6b9d21b87f628f8393f", (
        "if this change is meant, it is a new image format: reprise/image/formats.py"
    )


def test_times_umask_groups_modes_and_leftovers_change_nothing(folder: Path) -> None:
    before = source_archive(folder)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "b.cpython-311.pyc").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".env").write_bytes(b"secret")
    (folder / "b.py~").write_bytes(b"old")
    (folder / "empty").mkdir()
    (folder / "__init__.py").chmod(0o600)
    (folder / "sub" / "run").chmod(0o700)
    os.utime(folder / "__init__.py", (1, 1))
    assert source_archive(folder) == before


def test_a_changed_byte_name_or_x_bit_changes_it(folder: Path) -> None:
    seen = {source_archive(folder)}
    (folder / "__init__.py").write_bytes(b"2\n")
    seen.add(source_archive(folder))
    (folder / "__init__.py").chmod(0o755)
    seen.add(source_archive(folder))
    (folder / "sub" / "b.py").rename(folder / "sub" / "c.py")
    seen.add(source_archive(folder))
    seen.add(source_archive(folder.rename(folder.with_name("other"))))
    assert len(seen) == 5


def test_the_archive_read_back_is_the_folder_where_python_finds_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "source.tar").write_bytes(source_archive(folder))
    assert list(read_tar(source_archive(folder))) == ["project/__init__.py", "project/sub/b.py", "project/sub/run"]
    entries = read_source(tmp_path / "source.tar", "the source", PythonLayout("3.11"))
    packages = "usr/local/lib/python3.11/dist-packages"
    assert [(entry.path, entry.mode, entry.read()) for entry in entries] == [
        (f"{packages}/project/__init__.py", 0o644, b"1\n"),
        (f"{packages}/project/sub/b.py", 0o644, b"2\n"),
        (f"{packages}/project/sub/run", 0o755, b"#!/bin/sh\n"),
    ]


def test_a_symbolic_link_in_the_sources_is_named(folder: Path) -> None:
    (folder / "link.py").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match=r"link\.py is neither a file nor a folder"):
        source_archive(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="gone is not a folder"):
        source_archive(tmp_path / "gone")


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "source.tar").write_bytes(b"x" * 1000)
    with pytest.raises(InputError, match="the source is not a source archive"):
        read_source(tmp_path / "source.tar", "the source", PythonLayout("3.11"))
