"""Reading one conda package: what is taken, what is left out, and what is refused by name."""

from __future__ import annotations

import bz2
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from conda_package import PLACEHOLDER, Package, PackageFile, write_package

from reprise.image.bytecode import is_compiled
from reprise.image.conda import CondaPackage, read_conda
from reprise.image.conda_archive import read_archive, read_index
from reprise.image.conda_closure import python_closure
from reprise.image.entries import Entry
from reprise.image.format import PythonLayout
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import ListedFile

LAYOUT = PythonLayout("3.11", "opt/conda", "lib/python3.11/site-packages")
PURL = "pkg:conda/thing@1.0?build=0&channel=c&subdir=linux-64&type=conda"
SUFFIXES = (".conda", ".tar.bz2")
THING = Package("thing", files={"share/thing.txt": PackageFile(b"thing\n")})


def read(folder: Path, package: Package, suffix: str = ".conda", **more: Any) -> CondaPackage:
    return read_conda(write_package(folder, package, suffix), PURL, LAYOUT, **more)


def entries(package: CondaPackage) -> dict[str, Entry]:
    return {entry.path.removeprefix("opt/conda/"): entry for entry in package.entries}


def record(package: CondaPackage) -> dict[str, Any]:
    listed = {
        each.path: ListedFile(
            each.path, each.type, each.mode, each.size, "ab" if each.type == "file" else "", each.target
        )
        for each in package.entries
    }
    return dict(json.loads(package.record(listed).read()))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_links_and_folders_are_taken_with_modes_by_rule(tmp_path: Path, suffix: str) -> None:
    files = {
        "bin/run": PackageFile(b"#!/bin/sh\n", mode=0o4775),
        "share/data": PackageFile(b"x", mode=0o664),
        "lib/libx.so": PackageFile(target="libx.so.1"),
        "var/empty": PackageFile(directory=True),
    }
    found = entries(read(tmp_path, Package("thing", files=files), suffix))
    assert (found["bin/run"].mode, found["share/data"].mode) == (0o755, 0o644)
    assert (found["lib/libx.so"].type, found["lib/libx.so"].target) == ("symlink", "libx.so.1")
    assert found["var/empty"].type == "directory"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_large_files_are_read_whole_from_where_they_were_unpacked(tmp_path: Path, suffix: str) -> None:
    big = b"".join(number.to_bytes(4, "big") for number in range(900_000))
    files = {"big.bin": PackageFile(big), "after.txt": PackageFile(b"after")}
    (tmp_path / "spool").mkdir()
    found = entries(read(tmp_path, Package("thing", files=files), suffix, spool=tmp_path / "spool"))
    assert (found["big.bin"].read(), found["after.txt"].read()) == (big, b"after")
    assert list((tmp_path / "spool").iterdir()) == []


def test_hard_links_in_the_archive_become_files(tmp_path: Path) -> None:
    path = write_package(
        tmp_path, Package("thing", files={"a": PackageFile(b"same"), "b": PackageFile(b"same")}), ".tar.bz2"
    )

    def link(info: tarfile.TarInfo) -> None:
        if info.name == "b":
            info.type, info.linkname, info.size = tarfile.LNKTYPE, "a", 0

    rewrite(path, link)
    found = entries(read_conda(path, PURL, LAYOUT))
    assert (found["b"].type, found["b"].read()) == ("file", b"same")


def test_bytecode_of_another_python_is_left_out_and_sources_are_compiled(tmp_path: Path) -> None:
    files = {
        "site-packages/m.py": PackageFile(b"x = 1\n"),
        "site-packages/__pycache__/m.cpython-311.pyc": PackageFile(b"other"),
        "site-packages/only.pyc": PackageFile(b"no source"),
        "share/tool.py": PackageFile(b"x = 2\n"),
    }
    package = read(tmp_path, Package("thing", noarch="python", files=files))
    found = entries(package)
    assert not any("__pycache__" in path for path in found)
    assert "lib/python3.11/site-packages/only.pyc" in found
    compiled = [entry.path for entry in package.entries if is_compiled(entry, LAYOUT)]
    assert compiled == ["opt/conda/lib/python3.11/site-packages/m.py"]
    assert not any("__pycache__" in path for path in record(package)["files"])


def test_a_package_for_any_python_goes_to_this_one(tmp_path: Path) -> None:
    files = {
        "site-packages/m.py": PackageFile(b""),
        "python-scripts/run": PackageFile(f"#!{PLACEHOLDER}/bin/python\n".encode(), 0o755, prefix_mode="text"),
        "etc/m.cfg": PackageFile(b""),
    }
    package = Package("thing", noarch="python", files=files, entry_points=("go = m:main", "gui=m:App.run"))
    found = entries(read(tmp_path, package))
    assert {"lib/python3.11/site-packages/m.py", "bin/run", "etc/m.cfg", "bin/go", "bin/gui"} <= found.keys()
    assert found["bin/run"].read() == b"#!/opt/conda/bin/python\n"
    assert found["bin/go"].read().startswith(b"#!/opt/conda/bin/python3.11\nimport sys\nfrom m import main\n")
    assert b"sys.exit(App.run())" in found["bin/gui"].read() and found["bin/gui"].mode == 0o755


def test_a_path_that_another_package_wins_is_left_out_of_files_and_record(tmp_path: Path) -> None:
    package = Package("thing", files={"a": PackageFile(b"a"), "b": PackageFile(b"b")})
    path = write_package(tmp_path, package)
    lost = read_conda(path, PURL, LAYOUT, winners={"a": "other"})
    assert "a" not in entries(lost) and record(lost)["files"] == ["b"]
    assert "a" in entries(read_conda(path, PURL, LAYOUT, winners={"a": "thing"}))


def test_what_is_not_in_the_list_of_paths_is_not_installed(tmp_path: Path) -> None:
    path = write_package(tmp_path, THING, ".tar.bz2")
    rewrite(path, lambda info: None, more={"stray.txt": b"x"})
    assert entries(read_conda(path, PURL, LAYOUT)).keys() == {"share/thing.txt", "conda-meta/history"}


def test_prefixes_that_are_left_over_are_found_across_pieces(tmp_path: Path) -> None:
    text = PLACEHOLDER.encode()
    files = {
        "declared.txt": PackageFile(text, prefix_mode="text"),
        "not-declared.bin": PackageFile(bytes((1 << 20) - 20) + text + bytes((1 << 20) + 5)),
        "clean.txt": PackageFile(b"/opt/conda"),
    }
    package = read(tmp_path, Package("thing", files=files))
    assert [path for path, _ in package.leftovers()] == ["opt/conda/not-declared.bin"]


def test_old_has_prefix_lines_have_three_forms(tmp_path: Path) -> None:
    old = "/opt/anaconda1anaconda2" + "anaconda3"
    lines = b'/pre text t.txt\n"/pre" "binary" "b b.bin"\nplain.txt\n'
    files = {
        "t.txt": PackageFile(b"/pre/x"),
        "b b.bin": PackageFile(b"/pre/opt/conda-is-shorter\0"),
        "plain.txt": PackageFile(old.encode()),
    }
    package = Package("thing", legacy=True, files=files, info={"info/has_prefix": lines})
    layout = PythonLayout("3.11", "p", "")
    found = {e.path: e for e in read_conda(write_package(tmp_path, package), PURL, layout).entries}
    assert found["p/t.txt"].read() == b"/p/x" and found["p/plain.txt"].read() == b"/p"
    assert found["p/b b.bin"].read() == b"/p/opt/conda-is-shorter\0\0\0"


def rewrite(path: Path, change: Callable[[tarfile.TarInfo], None], more: dict[str, bytes] | None = None) -> None:
    """Change the headers of a `.tar.bz2` package, and add members."""
    out = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as new:
        for info in old:
            data = old.extractfile(info)
            change(info)
            new.addfile(info, data if info.isreg() else None)
        for name, content in (more or {}).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    path.write_bytes(bz2.compress(out.getvalue()))


def renamed(old: str, new: str) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.name = info.name.replace(old, new)

    return change


def as_device(info: tarfile.TarInfo) -> None:
    if info.name == "share/thing.txt":
        info.type = tarfile.CHRTYPE


def as_link(info: tarfile.TarInfo) -> None:
    if info.name == "share/thing.txt":
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def as_hard_link(info: tarfile.TarInfo) -> None:
    if info.name == "share/thing.txt":
        info.type, info.linkname = tarfile.LNKTYPE, "nothing"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed("info/index.json", "info/other.json"), "info/index.json is missing"),
        (renamed("info/paths.json", "info/other.json"), "neither info/paths.json nor info/files"),
        (renamed("share/thing.txt", "share/other.txt"), "share/thing.txt is not in it"),
        (renamed("share/thing.txt", "../evil"), "not a plain path"),
        (as_device, "a device, a pipe or a sparse file"),
        (as_link, "share/thing.txt is a symlink in it"),
        (as_hard_link, "is a hard link to 'nothing'"),
    ],
)
def test_a_malformed_archive_is_named(tmp_path: Path, change: Callable[[tarfile.TarInfo], None], said: str) -> None:
    path = write_package(tmp_path, THING, ".tar.bz2")
    rewrite(path, change)
    with pytest.raises(InputError, match="pkg:conda/thing") as caught:
        read_conda(path, PURL, LAYOUT)
    assert said in caught.value.message


def paths(text: bytes) -> dict[str, bytes]:
    return {"info/paths.json": b'{"paths": [%s], "paths_version": 1}' % text}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"info/index.json": b"{"}, "does not say name, version and build"),
        ({"info/index.json": b"[]"}, "does not say name, version and build"),
        ({"info/index.json": b'{"name": "a/b", "version": "1", "build": "0"}'}, "has the name 'a/b'"),
        ({"info/paths.json": b"{"}, "metadata is malformed"),
        ({"info/paths.json": b"[]"}, "metadata is malformed"),
        ({"info/paths.json": b'{"paths": [{}], "paths_version": 1}'}, "_path is missing"),
        ({"info/paths.json": b'{"paths": [], "paths_version": 2}'}, "version 2"),
        (
            {"info/paths.json": b'{"paths": [{"_path": "/etc/x", "path_type": "hardlink"}], "paths_version": 1}'},
            "plain path",
        ),
        ({"info/paths.json": b'{"paths": [{"_path": "x", "path_type": "pipe"}], "paths_version": 1}'}, "'pipe'"),
        (paths(b'{"_path": "x", "path_type": "hardlink", "file_mode": "?"}'), "file mode '?'"),
        ({"info/link.json": b'{"noarch": {"entry_points": ["nothing"]}}'}, "entry point 'nothing'"),
        ({"info/link.json": b'{"noarch": {"entry_points": [3]}}'}, "metadata is malformed"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_malformed_metadata_is_named(tmp_path: Path, suffix: str, info: dict[str, bytes], said: str) -> None:
    with pytest.raises(InputError, match="pkg:conda/thing") as caught:
        read(tmp_path, replace(THING, info=info), suffix)
    assert said in caught.value.message


@pytest.mark.parametrize("reference", ["x = nothing", "../x = a:b", "x = a:b:c"])
def test_a_malformed_entry_point_is_named(tmp_path: Path, reference: str) -> None:
    package = Package("thing", noarch="python", entry_points=(reference,))
    with pytest.raises(InputError, match=r"pkg:conda/thing.*entry point"):
        read(tmp_path, package)


def conda_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


META = b'{"conda_pkg_format_version": 2}'
TAR = zstandard.compress(bytes(1024))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "metadata.json is missing"),
        ({"metadata.json": b"[]"}, "metadata.json is missing or malformed"),
        ({"metadata.json": b'{"conda_pkg_format_version": 3}'}, "format 3"),
        ({"metadata.json": META, "pkg-a.tar.zst": TAR}, "0 files info-*.tar.zst"),
        ({"metadata.json": META, "info-a.tar.zst": TAR, "info-b.tar.zst": TAR}, "2 files info-*.tar.zst"),
        ({"metadata.json": META, "info-a.tar.zst": b"nothing", "pkg-a.tar.zst": TAR}, "is damaged"),
        ({"metadata.json": META, "info-a.tar.zst": zstandard.compress(b"x" * 600), "pkg-a.tar.zst": TAR}, "is damaged"),
        ({"metadata.json": META, "info-a.tar.zst": TAR, "pkg-a.tar.zst": TAR}, "info/index.json is missing"),
    ],
)
def test_a_malformed_conda_file_is_named(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    with pytest.raises(InputError, match="pkg:conda/thing") as caught:
        read_conda(conda_zip(tmp_path / "x.conda", members), PURL, LAYOUT)
    assert said in caught.value.message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_cut_through_a_package_is_damage(tmp_path: Path, suffix: str) -> None:
    whole = write_package(tmp_path, THING, suffix).read_bytes()
    path = tmp_path / "cut"
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="pkg:conda/thing"):
            read_conda(path, PURL, LAYOUT)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flipped_byte_never_gives_a_traceback(tmp_path: Path, suffix: str) -> None:
    whole = write_package(tmp_path, THING, suffix).read_bytes()
    path = tmp_path / "flipped"
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            for entry in read_conda(path, PURL, LAYOUT).entries:
                entry.read()
        except InputError as error:
            assert "pkg:conda/thing" in error.message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_index_is_read_alone(tmp_path: Path, suffix: str) -> None:
    path = write_package(tmp_path, THING, suffix)
    assert read_index(path, PURL) == read_archive(path, PURL)["info/index.json"].read()


def test_what_starts_python_is_what_it_depends_on_but_data(tmp_path: Path) -> None:
    packages = [
        Package("python", depends=("libffi >=3", "tzdata", "__glibc >=2.17")),
        Package("libffi", depends=("libgcc",)),
        Package("libgcc", depends=("libffi",)),
        Package("tzdata", noarch="generic", depends=("other",)),
        Package("other"),
    ]
    files = {each.name: (PURL, write_package(tmp_path, each)) for each in packages}
    assert python_closure(files) == ["libffi", "libgcc", "python"]
