"""A conda package as the files that installing it gives.

Follows what conda and rattler do (tests compare with py-rattler file by file), less what depends on the machine: times,
umask, the package cache's place, bytecode. No script runs. Beside its files a package has a record in `conda-meta`, by
which conda's tools and scanners see it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from reprise.image.conda_archive import Member, read_archive
from reprise.image.conda_metadata import CondaMetadata, PackagePath, read_metadata
from reprise.image.conda_prefix import replace_in_binary, replace_in_text, require_room
from reprise.image.conda_scripts import PackageScript, is_script
from reprise.image.entries import Entry, checked_path, directory, file, symlink
from reprise.image.entry_points import entry_point
from reprise.image.format import PythonLayout
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import ListedFile

_BYTECODE = re.compile(r"(.*/)?__pycache__/[^/]*\.pyc")
"""Another Python's work; the image's own compiles the sources again."""

_PLACEHOLDER_PART = "_placehold_placehold"
"""A part of each prefix that conda-build makes up."""

_COPY = 3
"""conda's LinkType of a file that is neither a hard nor a soft link into the package cache."""


@dataclass(frozen=True, slots=True)
class CondaPackage:
    """A package's files without its record, what makes the record once their hashes are known, and its scripts."""

    entries: tuple[Entry, ...]
    record_path: str
    scripts: tuple[PackageScript, ...]
    _record: Mapping[str, Any]
    _paths: tuple[tuple[str, Mapping[str, Any]], ...]

    @property
    def identity(self) -> tuple[str, str, str]:
        """Name, version and build."""
        return self._record["name"], self._record["version"], self._record["build"]

    @property
    def name(self) -> str:
        return self.identity[0]

    @property
    def site_packages(self) -> str:
        """What a python package says about where it looks, relative to the prefix; empty for the usual place."""
        return str(self._record.get("python_site_packages_path") or "")

    @property
    def paths(self) -> frozenset[str]:
        """All paths, relative to the root."""
        return frozenset(entry.path for entry in self.entries)

    def leftovers(self) -> Iterator[tuple[str, str]]:
        """Files that still hold the prefix that the package was built with, and the prefix or a part of it."""
        placeholders = {str(row["prefix_placeholder"]) for _, row in self._paths if "prefix_placeholder" in row}
        wanted = [each.encode() for each in (*sorted(placeholders), _PLACEHOLDER_PART)]
        for entry in self.entries:
            if found := _found_in(entry, wanted):
                yield entry.path, found.decode()

    def record(self, listed: Mapping[str, ListedFile]) -> Entry:
        """The package's file in `conda-meta`, canonical: no time, no place of a cache, no address.

        Args:
            listed: the layer's files by path, as they were written.
        """
        rows = []
        for path, row in self._paths:
            written = listed[path]
            more = {"sha256_in_prefix": written.sha256, "size_in_bytes": written.size} if written.sha256 else {}
            rows.append({**row, **more})
        files = [row["_path"] for row in rows if row["path_type"] != "directory"]
        document = {**self._record, "files": files, "paths_data": {"paths": rows, "paths_version": 1}}
        return file(self.record_path, canonical_json(document))


def read_conda(
    path: Path,
    artifact: str,
    layout: PythonLayout,
    *,
    winners: Mapping[str, str] | None = None,
    spool: Path | None = None,
) -> CondaPackage:
    """Read the package at `path`; large files are read again when they are needed.

    Args:
        path: a `.conda` or `.tar.bz2` file.
        artifact: its package URL, for messages and for the record.
        layout: where the environment lies, and where its Python looks.
        winners: paths below the prefix that several packages own, and which package's file is the image's.
        spool: an existing folder for a large package's unpacked tar.

    Raises:
        InputError: it is no conda package, is damaged, does not fit its prefix, or needs a Python that is not there.
    """
    members = read_archive(path, artifact, spool)
    metadata = read_metadata(members, artifact)
    if metadata.is_noarch_python and not layout.site_packages:
        raise InputError(
            f"{artifact} is for any Python, and the lock has no conda package python to install it for",
            hint="Add python to the conda packages of the environment, and lock it again.",
        )
    installed = list(_installed(metadata, members, artifact, layout, winners or {}))
    entries = [entry for entry, _ in installed]
    entries.append(file(f"{layout.prefix}/conda-meta/history", b""))
    index = metadata.index
    record_path = f"{layout.prefix}/conda-meta/{index['name']}-{index['version']}-{index['build']}.json"
    return CondaPackage(
        tuple(entries),
        checked_path(record_path, artifact),
        tuple(_scripts(metadata, entries, artifact, layout)),
        _record(path, artifact, metadata),
        tuple(sorted((entry.path, row) for entry, row in installed)),
    )


def _installed(
    metadata: CondaMetadata,
    members: Mapping[str, Member],
    artifact: str,
    layout: PythonLayout,
    winners: Mapping[str, str],
) -> Iterator[tuple[Entry, Mapping[str, Any]]]:
    """Each path of the image that the package gives, and its row in the record."""
    for each in metadata.paths:
        if _BYTECODE.fullmatch(each.path):
            continue
        place = _place(each.path, metadata, layout)
        if winners.get(place, metadata.name) == metadata.name:
            yield _entry(each, members, f"{layout.prefix}/{place}", artifact, layout), _row(each, place)
    for name, reference in metadata.entry_points if metadata.is_noarch_python else ():
        program = entry_point(name, reference, artifact, layout)
        place = program.path.removeprefix(f"{layout.prefix}/")
        if winners.get(place, metadata.name) == metadata.name:
            yield program, {"_path": place, "path_type": "unix_python_entry_point"}


def _place(path: str, metadata: CondaMetadata, layout: PythonLayout) -> str:
    """Where a path of the package goes, relative to the prefix."""
    if metadata.is_noarch_python:
        top, _, rest = path.partition("/")
        if top == "site-packages":
            return f"{layout.site_packages}/{rest}"
        if top == "python-scripts":
            return f"bin/{rest}"
    return path


def _entry(each: PackagePath, members: Mapping[str, Member], path: str, artifact: str, layout: PythonLayout) -> Entry:
    if each.type == "directory":
        return directory(path)
    member = members.get(each.path)
    wanted = "symlink" if each.type == "softlink" else "file"
    if member is None or member.type != wanted:
        found = "not in it" if member is None else f"a {member.type} in it"
        raise InputError(f"{artifact} is damaged: {each.path} is {found}, its metadata says a {each.type}")
    if member.type == "symlink":
        return symlink(path, member.target)
    plain = Entry(path, "file", member.mode, size=member.size, content=member.content)
    return _with_prefix(plain, each, artifact, layout) if each.placeholder else plain


def _with_prefix(entry: Entry, each: PackagePath, artifact: str, layout: PythonLayout) -> Entry:
    placeholder, prefix = each.placeholder.encode(), f"/{layout.prefix}".encode()
    where = f"{artifact}: {each.path}"
    if each.binary:
        require_room(placeholder, prefix, where)
        return replace(entry, content=lambda: (replace_in_binary(entry.read(), placeholder, prefix, where),))

    def text() -> bytes:
        return replace_in_text(entry.read(), placeholder, prefix)

    return replace(entry, size=len(text()), content=lambda: (text(),))


def _found_in(entry: Entry, wanted: Sequence[bytes]) -> bytes:
    """The first of `wanted` that a file's bytes hold; empty if none."""
    longest, end = max(map(len, wanted)), b""
    for piece in entry.content() if entry.content else ():
        end += piece
        for each in wanted:
            if each in end:
                return each
        end = end[-longest:]
    return b""


def _row(each: PackagePath, place: str) -> Mapping[str, Any]:
    row: dict[str, Any] = {"_path": place, "path_type": each.type}
    if each.sha256 and each.type == "hardlink":
        row["sha256"] = each.sha256
    if each.placeholder:
        row |= {"file_mode": "binary" if each.binary else "text", "prefix_placeholder": each.placeholder}
    return row


def _record(path: Path, artifact: str, metadata: CondaMetadata) -> dict[str, Any]:
    """What the record says about the package itself. Its `url` is the package URL: what it is, and not where."""
    with path.open("rb") as archive:
        sha256 = hashlib.file_digest(archive, "sha256").hexdigest()
        suffix = ".tar.bz2" if _starts(archive, b"BZh") else ".conda"
    index = metadata.index
    return {
        "constrains": [],
        "depends": [],
        **index,
        "channel": parse_qs(artifact.partition("?")[2]).get("channel", [""])[0],
        "fn": f"{index['name']}-{index['version']}-{index['build']}{suffix}",
        "link": {"source": "", "type": _COPY},
        "sha256": sha256,
        "size": path.stat().st_size,
        "url": artifact,
    }


def _starts(archive: Any, magic: bytes) -> bool:
    archive.seek(0)
    return bool(archive.read(len(magic)) == magic)


def _scripts(
    metadata: CondaMetadata, entries: list[Entry], artifact: str, layout: PythonLayout
) -> Iterator[PackageScript]:
    for entry in entries:
        path = entry.path.removeprefix(f"{layout.prefix}/")
        if entry.type == "file" and is_script(path, metadata.name):
            try:
                yield PackageScript(metadata.name, path, entry.read().decode())
            except UnicodeDecodeError as error:
                raise InputError(f"{artifact}: {path} is not UTF-8") from error
