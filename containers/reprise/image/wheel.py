"""A wheel as the files that installing it gives.

Follows the binary distribution format (packaging.python.org, PEP 427) and "Recording installed projects" (PEP 376,
627): what `installer` does, less what depends on the machine (REQUESTED, direct_url.json, bytecode). Tests compare the
two file by file.
"""

from __future__ import annotations

import base64
import binascii
import configparser
import csv
import io
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from reprise.image.conda_prefix import python_shebang
from reprise.image.entries import Entry, checked_path, file
from reprise.image.entry_points import entry_point
from reprise.image.format import FILE_MODE, INSTALLER, PROGRAM_MODE, PythonLayout
from reprise.image.zip_reader import Member, read_members
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import ListedFile

_NOT_INSTALLED = ("RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of `.dist-info` that an installer writes itself, or that sign the RECORD that it replaces."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel's installed files without its RECORD, and what makes the RECORD once their hashes are known."""

    entries: tuple[Entry, ...]
    record_path: str
    root: str

    def record(self, listed: Mapping[str, ListedFile]) -> Entry:
        """The RECORD file, canonical: one row a file sorted by path, sha256 and size in each but its own.

        Args:
            listed: the layer's files by path, as they were written.
        """
        rows: list[tuple[str, str, str]] = []
        for entry in self.entries:
            written = listed[entry.path]
            digest = base64.urlsafe_b64encode(binascii.unhexlify(written.sha256)).rstrip(b"=").decode()
            rows.append((posixpath.relpath(entry.path, self.root), f"sha256={digest}", str(written.size)))
        rows.append((posixpath.relpath(self.record_path, self.root), "", ""))
        rows.sort(key=lambda row: row[0].encode())
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return file(self.record_path, text.getvalue().encode())


def read_wheel(path: Path, artifact: str, layout: PythonLayout) -> Wheel:
    """Read the directory of a wheel; its files are read when they are needed.

    Args:
        path: the wheel.
        artifact: its name for messages.
        layout: where the image's Python looks for installed files.

    Raises:
        InputError: it is not a wheel, or one of a newer major version.
    """
    members = read_members(path, artifact)
    by_name = {member.name: member for member in members}
    if len(by_name) != len(members):
        raise InputError(f"{artifact} holds one file name twice")
    info = _info_folder(by_name, artifact)
    _check_version(by_name[f"{info}/WHEEL"], artifact)
    entries = list(_installed(members, info, artifact, layout))
    entries.append(file(f"{layout.packages}/{info}/INSTALLER", INSTALLER))
    if (points := by_name.get(f"{info}/entry_points.txt")) is not None:
        entries += _entry_points(_text(points, artifact), artifact, layout)
    return Wheel(tuple(entries), f"{layout.packages}/{info}/RECORD", layout.packages)


def _info_folder(members: Mapping[str, Member], artifact: str) -> str:
    folders = {name.partition("/")[0] for name in members if name.partition("/")[0].endswith(".dist-info")}
    if len(folders) != 1:
        raise InputError(f"{artifact} is not a wheel: it has {len(folders)} .dist-info folders instead of one")
    folder = folders.pop()
    for needed in ("METADATA", "RECORD", "WHEEL"):
        if f"{folder}/{needed}" not in members:
            raise InputError(f"{artifact} is not a wheel: {folder}/{needed} is missing")
    return folder


def _check_version(member: Member, artifact: str) -> None:
    version = HeaderParser().parsestr(_text(member, artifact)).get("Wheel-Version", "").strip()
    if not re.fullmatch(r"1\.\d+", version):
        raise InputError(f"{artifact} has Wheel-Version {version!r}; this version installs 1.x")


def _text(member: Member, artifact: str) -> str:
    try:
        return b"".join(member.content()).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{artifact}: {member.name} is not UTF-8") from error


def _installed(members: Iterable[Member], info: str, artifact: str, layout: PythonLayout) -> Iterator[Entry]:
    data = f"{_normalized(info.removesuffix('.dist-info'))}.data"
    schemes = {
        "purelib": layout.packages,
        "platlib": layout.packages,
        "scripts": layout.scripts,
        "data": layout.data,
        "headers": layout.headers(info.partition("-")[0]),
    }
    kept = {f"{info}/{name}" for name in _NOT_INSTALLED}
    for member in members:
        name = checked_path(member.name, artifact)
        if name in kept or _is_bytecode(name):
            continue
        mode = PROGRAM_MODE if member.executable else FILE_MODE
        top, _, below = name.partition("/")
        if not (top.endswith(".data") and _normalized(top) == data):
            yield Entry(f"{layout.packages}/{name}", "file", mode, size=member.size, content=member.content)
            continue
        scheme, _, rest = below.partition("/")
        if scheme not in schemes or not rest:
            raise InputError(f"{artifact} has a file {name!r} in no known scheme ({', '.join(sorted(schemes))})")
        if scheme == "scripts":
            yield _script(f"{schemes[scheme]}/{rest}", member, mode, layout)
        else:
            yield Entry(f"{schemes[scheme]}/{rest}", "file", mode, size=member.size, content=member.content)


def _normalized(name: str) -> str:
    """Older tools wrote the project's name in the two folders with different case or separators."""
    return re.sub(r"[-_.]+", "-", name.removesuffix(".data")).lower() + (".data" if name.endswith(".data") else "")


def _is_bytecode(name: str) -> bool:
    """Bytecode in a wheel is another Python's work; the image's own compiles the sources again."""
    return name.endswith(".pyc") and "__pycache__/" in name


def _script(path: str, member: Member, mode: int, layout: PythonLayout) -> Entry:
    """A script of the wheel; one that starts with `#!python` gets the image's interpreter (PEP 427)."""
    start = next(iter(member.content()), b"")
    if not start.startswith(b"#!python"):
        return Entry(path, "file", mode, size=member.size, content=member.content)
    rest = b"".join(member.content()).partition(b"\n")[2]
    return file(path, f"{python_shebang(layout.interpreter)}\n".encode() + rest, mode)


def _entry_points(text: str, artifact: str, layout: PythonLayout) -> Iterator[Entry]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment]  # names keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise InputError(f"{artifact}: entry_points.txt cannot be read: {error}") from error
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            yield entry_point(name, value, artifact, layout)
