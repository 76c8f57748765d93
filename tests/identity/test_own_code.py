"""The user's own code: the archive that the configuration names, nothing else, and unchanged to the end."""

from __future__ import annotations

import hashlib
import importlib
import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reprise.image.source import source_archive
from reprise_trainer.errors import RefusedError
from reprise_trainer.identity.launch import CODE_FILE
from reprise_trainer.identity.own_code import changed_files, enter_code
from reprise_trainer.identity.process import check_mappings


@pytest.fixture(autouse=True)
def same_import_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = list(sys.path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    sys.path[:] = before
    sys.modules.pop("own_code_example", None)


@pytest.fixture
def launch(tmp_path: Path) -> Path:
    """A launch folder with an archive of one module and one file of data."""
    (tmp_path / "src/data").mkdir(parents=True)
    (tmp_path / "src/own_code_example.py").write_text("VALUE = 41 + 1\n")
    (tmp_path / "src/data/words.txt").write_text("a b\n")
    folder = tmp_path / "launch"
    folder.mkdir()
    (folder / CODE_FILE).write_bytes(source_archive(tmp_path / "src"))
    return folder


def sha256(launch: Path) -> str:
    return hashlib.sha256((launch / CODE_FILE).read_bytes()).hexdigest()


def test_the_folders_modules_can_be_imported_and_hide_nothing(launch: Path, tmp_path: Path) -> None:
    code = enter_code(launch, sha256(launch), parent=tmp_path)
    assert importlib.import_module("own_code_example").VALUE == 42
    assert sys.path[-1] == str(code.folder / "src")
    assert sorted(code.files) == ["src/data/words.txt", "src/own_code_example.py"]


def test_its_modules_may_be_imported_and_not_mapped(launch: Path, tmp_path: Path) -> None:
    code = enter_code(launch, sha256(launch), parent=tmp_path)
    module = str(code.folder / "src/own_code_example.py")
    assert check_mappings((), (module,), (), code.modules) == ()
    assert len(check_mappings((), (module,), ())) == 1
    assert len(check_mappings((), (str(code.folder / "src/other.py"),), (), code.modules)) == 1


def test_another_archive_is_refused(launch: Path, tmp_path: Path) -> None:
    expected = sha256(launch)
    data = bytearray((launch / CODE_FILE).read_bytes())
    data[512] ^= 1
    (launch / CODE_FILE).write_bytes(data)
    with pytest.raises(RefusedError, match="the code's sha256 is"):
        enter_code(launch, expected, parent=tmp_path)


def test_a_missing_archive_or_digest_is_refused(launch: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="the configuration says nothing"):
        enter_code(launch, "", parent=tmp_path)
    (launch / CODE_FILE).unlink()
    with pytest.raises(RefusedError, match="names code of its own"):
        enter_code(launch, "0" * 64, parent=tmp_path)


def hostile(launch: Path, change: str) -> None:
    """Put an archive that no source folder gives into the launch folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as archive:
        member = tarfile.TarInfo("../outside.py" if change == "path" else "src/link.py")
        if change == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    (launch / CODE_FILE).write_bytes(buffer.getvalue() if change != "garbage" else b"no archive" * 100)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("path", "leads out of the code's folder"),
        ("link", "is not a plain file"),
        ("garbage", "not an archive of code"),
    ],
)
def test_an_archive_that_no_folder_gives_is_refused(launch: Path, tmp_path: Path, change: str, said: str) -> None:
    hostile(launch, change)
    with pytest.raises(RefusedError, match=said):
        enter_code(launch, sha256(launch), parent=tmp_path)
    assert not list(tmp_path.parent.glob("outside.py")) and not (tmp_path / "outside.py").exists()


def test_code_that_changes_while_it_runs_is_named(launch: Path, tmp_path: Path) -> None:
    code = enter_code(launch, sha256(launch), parent=tmp_path)
    assert changed_files(code) == ()
    (code.folder / "src/own_code_example.py").write_text("VALUE = 43\n")
    (code.folder / "src/data/words.txt").unlink()
    (code.folder / "src/new.py").write_text("")
    assert [problem.partition(": ")[2] for problem in changed_files(code)] == [
        "the run's own code was changed while it ran",
        "appeared beside the run's own code",
        "the run's own code was changed while it ran",
    ]
