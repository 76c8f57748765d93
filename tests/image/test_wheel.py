"""A wheel's layer against what `installer` makes of the same wheel, file by file."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import image_inputs
import installer
import pytest
from image_inputs import TarFile, wheel_files, write_wheel
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile

from reprise.image.bytecode import is_compiled
from reprise.image.entries import merge
from reprise.image.format import PythonLayout
from reprise.image.layer import write_layer
from reprise.image.wheel import read_wheel
from reprise_trainer.errors import InputError

LAYOUT = PythonLayout("3.11")
PACKAGES = LAYOUT.packages
LISTS = "usr/share/reprise/lists/test.json"


def layer_files(wheel: Path) -> dict[str, TarFile]:
    """The files of the wheel's layer without its list, as a foreign tar reader sees them."""
    read = read_wheel(wheel, wheel.name, LAYOUT)
    out = io.BytesIO()
    write_layer("test", merge([(wheel.name, read.entries)]), out, late=[lambda listed: [read.record(listed)]])
    files = image_inputs.read_tar(image_inputs.unpacked(out.getvalue()))
    return {path: file for path, file in files.items() if file.type == "file" and path != LISTS}


def installed_files(wheel: Path, root: Path) -> dict[str, TarFile]:
    """The same from a real installation by `installer`."""
    project = wheel.name.partition("-")[0]
    schemes = {
        "purelib": f"/{PACKAGES}",
        "platlib": f"/{PACKAGES}",
        "scripts": f"/{LAYOUT.scripts}",
        "data": f"/{LAYOUT.data}",
        "headers": f"/{LAYOUT.headers(project)}",
    }
    destination = SchemeDictionaryDestination(schemes, LAYOUT.interpreter, "posix", destdir=str(root))
    before = os.umask(0o022)
    try:
        with WheelFile.open(wheel) as source:
            installer.install(source, destination, {"INSTALLER": b"reprise\n"})
    finally:
        os.umask(before)
    found = (path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): TarFile("file", path.stat().st_mode & 0o7777, path.read_bytes()) for path in found
    }


def same_but_record_and_entry_points(wheel: Path, tmp_path: Path, entry_points: set[str]) -> None:
    ours, theirs = layer_files(wheel), installed_files(wheel, tmp_path / "root")
    assert ours.keys() == theirs.keys()
    (record,) = [path for path in ours if path.endswith(".dist-info/RECORD")]
    for path in ours.keys() - {record}:
        assert ours[path].mode == theirs[path].mode, path
        if path not in entry_points:
            assert ours[path].data == theirs[path].data, path
    rows, their_rows = (
        {os.path.normpath(row[0]): row[1:] for row in csv.reader(io.StringIO(files[record].data.decode()))}
        for files in (ours, theirs)
    )
    for path in entry_points:  # our text for them is our own; both start the same interpreter
        first = b"#!/usr/bin/python3.11"
        assert ours[path].data.splitlines()[0] == theirs[path].data.splitlines()[0] == first
        name = os.path.relpath(path, PACKAGES)
        assert rows.pop(name) != their_rows.pop(name)
    assert rows == their_rows


def test_numpy_s_layer_is_what_installer_installs(
    locked: Callable[..., list[tuple[object, Path]]], tmp_path: Path
) -> None:
    ((artifact, stored),) = locked(lambda artifact: artifact.name == "numpy")
    wheel = tmp_path / artifact.file_name  # type: ignore[attr-defined]
    wheel.symlink_to(stored)
    same_but_record_and_entry_points(wheel, tmp_path, {"usr/local/bin/f2py", "usr/local/bin/numpy-config"})


def test_schemes_scripts_programs_and_entry_points_are_where_installer_puts_them(tmp_path: Path) -> None:
    data = "small-1.0.data"
    files = {
        "small/__init__.py": b"def main(): pass\n",
        "small/tool": b"\x7fELF",
        'small/ümlaut, "quoted".txt': b"text",
        f"{data}/purelib/pure.py": b"1\n",
        f"{data}/platlib/plat.py": b"2\n",
        f"{data}/scripts/run-it": b"#!python -s\nprint(1)\n",
        f"{data}/scripts/run.sh": b"#!/bin/sh\ntrue\n",
        f"{data}/data/share/small/x.txt": b"x",
        f"{data}/headers/small.h": b"int x;\n",
    }
    points = "[console_scripts]\nsmall = small:main\nSmall-Sub=small.sub : Cls.main [extra]\n"
    points += "[gui_scripts]\nwin = small:main\n"
    programs = ["small/tool", f"{data}/scripts/run.sh"]
    wheel = write_wheel(tmp_path, wheel_files(files=files, entry_points=points), programs=programs)
    same_but_record_and_entry_points(
        wheel, tmp_path, {f"usr/local/bin/{name}" for name in ("small", "Small-Sub", "win")}
    )


def test_an_entry_point_runs_its_function(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, wheel_files(entry_points="[console_scripts]\nx = small.cli:App.run\n"))
    script = layer_files(wheel)["usr/local/bin/x"]
    assert script.mode == 0o755
    assert script.data.decode().splitlines()[1:] == [
        "import sys",
        "from small.cli import App",
        "",
        'if __name__ == "__main__":',
        "    sys.exit(App.run())",
    ]


def test_every_row_of_the_record_holds_and_rows_are_sorted(tmp_path: Path) -> None:
    files = layer_files(write_wheel(tmp_path, wheel_files(files={"b.py": b"1", "a/é.py": b"2", "a.py": b"3"})))
    text = files[f"{PACKAGES}/small-1.0.dist-info/RECORD"].data.decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {f"{PACKAGES}/{row[0]}" for row in rows} == files.keys()
    for name, digest, size in rows:
        if name.endswith("/RECORD"):
            assert (digest, size) == ("", "")
            continue
        data = files[f"{PACKAGES}/{name}"].data
        assert digest == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        assert size == str(len(data))


def test_what_another_machine_left_in_a_wheel_is_not_installed(tmp_path: Path) -> None:
    info = "small-1.0.dist-info"
    left = {
        f"{info}/direct_url.json": b"{}",
        f"{info}/REQUESTED": b"",
        f"{info}/INSTALLER": b"pip",
        f"{info}/RECORD.jws": b"",
    }
    left["small/__pycache__/__init__.cpython-311.pyc"] = b"other"
    files = layer_files(write_wheel(tmp_path, {**wheel_files(), **left}))
    assert files[f"{PACKAGES}/{info}/INSTALLER"].data == b"reprise\n"
    names = {path.rpartition("/")[2] for path in files}
    assert names == {"__init__.py", "INSTALLER", "METADATA", "RECORD", "WHEEL"}


def test_stored_members_and_large_ones_come_out_whole(tmp_path: Path) -> None:
    files = {
        "zeros.bin": bytes(5_000_001),
        "counted.bin": b"".join(n.to_bytes(4) for n in range(700_000)),
        "empty": b"",
    }
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        wheel = write_wheel(tmp_path, wheel_files(files=files), compression=compression)
        layer = layer_files(wheel)
        assert {name: layer[f"{PACKAGES}/{name}"].data for name in files} == files


def test_a_layer_is_the_same_whatever_the_order_and_dates_of_the_zip(tmp_path: Path) -> None:
    members = wheel_files(files={f"m{n}/x.py": b"%d" % n for n in range(20)})
    first = write_wheel(tmp_path, members).rename(tmp_path / "first.whl")
    second = write_wheel(tmp_path, members, order=lambda names: sorted(names, reverse=True), date=(1999, 1, 1, 0, 0, 0))
    assert layer_files(first) == layer_files(second)


def test_compiled_files_are_those_on_the_import_path(tmp_path: Path) -> None:
    files = {"a.py": b"", "a.pyi": b"", "small-1.0.data/scripts/s.py": b"", "small-1.0.data/data/share/d.py": b""}
    entries = read_wheel(write_wheel(tmp_path, wheel_files(files=files)), "w", LAYOUT).entries
    assert [entry.path for entry in entries if is_compiled(entry, LAYOUT)] == [f"{PACKAGES}/a.py"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"../evil.py": b""}, "not a plain path"),
        ({"/etc/passwd": b""}, "not a plain path"),
        ({"a//b.py": b""}, "not a plain path"),
        ({"other-1.dist-info/METADATA": b""}, "2 .dist-info folders"),
        ({"small-1.0.dist-info/WHEEL": b"Wheel-Version: 2.0\n"}, "Wheel-Version '2.0'"),
        ({"small-1.0.dist-info/WHEEL": b"nothing"}, "Wheel-Version ''"),
        ({"small-1.0.dist-info/WHEEL": b"\xff"}, "not UTF-8"),
        ({"small-1.0.data/unknown/x": b""}, "no known scheme"),
        ({"small-1.0.data/file": b""}, "no known scheme"),
        ({"small-1.0.dist-info/entry_points.txt": b"[console_scripts]\nx = nothing\n"}, "entry point 'x'"),
        ({"small-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../x = a:b\n"}, "entry point '../x'"),
        ({"small-1.0.dist-info/entry_points.txt": b"no section\n"}, "cannot be read"),
    ],
)
def test_a_malformed_wheel_is_named(tmp_path: Path, change: dict[str, bytes], said: str) -> None:
    wheel = write_wheel(tmp_path, {**wheel_files(), **change})
    with pytest.raises(InputError, match="pkg:pypi/small") as caught:
        read_wheel(wheel, "pkg:pypi/small", LAYOUT)
    assert said in caught.value.message


@pytest.mark.parametrize("missing", ["METADATA", "RECORD", "WHEEL"])
def test_a_wheel_without_a_part_of_its_metadata_is_named(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "w.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in {"METADATA", "RECORD", "WHEEL"} - {missing}:
            archive.writestr(f"small-1.dist-info/{name}", b"Wheel-Version: 1.0\n")
    with pytest.raises(InputError, match=rf"the wheel is not a wheel: small-1\.dist-info/{missing} is missing"):
        read_wheel(path, "the wheel", LAYOUT)


def test_a_file_that_is_no_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.whl").write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match="the wheel is not a zip file"):
        read_wheel(tmp_path / "w.whl", "the wheel", LAYOUT)


def test_a_flipped_byte_in_a_member_is_found_when_it_is_read(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, wheel_files(files={"a.py": b"same text " * 100}), compression=zipfile.ZIP_STORED)
    data = bytearray(wheel.read_bytes())
    data[data.index(b"same text") + 3] ^= 1
    wheel.write_bytes(data)
    with pytest.raises(InputError, match=r"is damaged: 'a\.py'"):
        layer_files(wheel)
