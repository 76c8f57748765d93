"""The files that a `[data]` section names: from beside the configuration into the store, and from there to a reader."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from reprise.image.deb import read_deb
from reprise.image.source import source_archive
from reprise.lock.model import Artifact
from reprise.store import Store
from reprise.store.copies import copy_in, file_sha256
from reprise_trainer.config.code import CodeSection
from reprise_trainer.config.data import Place
from reprise_trainer.data.snapshot import Source
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import InputError, NotFoundError

_LINE = re.compile(r"([0-9a-f]{64})  \./(.+)\Z")
_LIST_LIMIT = 256 << 20


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a source: its path for messages and for choosing, and where its bytes are."""

    name: str
    path: Path


def place_artifact(place: Place) -> Artifact:
    """The artifact that a place names; a local one is called by its file name."""
    return Artifact(place.artifact or generic_purl(place.file), place.sha256, "main", place.path)


def place_source(place: Place) -> Source:
    """What a snapshot says about a place."""
    return Source(artifact=place_artifact(place).purl, sha256=place.sha256)


def take_local(place: Place, base: Path, store: Store) -> None:
    """Copy a place's file or folder from below `base` into the store, unless the store has it.

    A folder becomes its list, in the form of `sha256sum`, and its files: each a blob under its own digest.

    Raises:
        NotFoundError: it is neither there nor in the store.
        InputError: the bytes are others than the configuration's sha256 says.
        StorageError: the store can't be written.
    """
    path = base / place.file
    digest = f"sha256:{place.sha256}"
    if not place.file or store.has(digest):
        return
    if not path.exists():
        raise NotFoundError(
            f"{path}: there is no such file or folder, and the store {store.root} does not hold its sha256",
            hint="`file` in [data] is relative to the configuration's folder.",
        )
    try:
        found = folder_list(path) if path.is_dir() else b""
        actual = hashlib.sha256(found).hexdigest() if path.is_dir() else file_sha256(path)
        if actual != place.sha256:
            raise InputError(f"{path}: its sha256 is {actual}, the configuration says {place.sha256}")
        for sha256, name in _listed_in(found.decode(), str(path)):
            copy_in(path / name, sha256, store)
        if path.is_dir():
            store.add(found)  # last: it says that the files are there
        else:
            copy_in(path, place.sha256, store)
    except OSError as error:
        raise storage_error(error, path) from error


def folder_list(folder: Path) -> bytes:
    """The list of a folder's files, whose sha256 names the folder: a line a file, by path, as this command prints it.

    `find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`
    """
    paths = sorted((os.fsencode(path.relative_to(folder)), path) for path in folder.rglob("*") if path.is_file())
    if bad := [name for name, _ in paths if not _can_be_listed(name)]:
        raise InputError(
            f"{folder}: the file name {bad[0]!r} has a line feed, a carriage return or a backslash, or is not in UTF-8",
            hint="Give the file another name; the folder's sha256 is another one then.",
        )
    return b"".join(file_sha256(path).encode() + b"  ./" + name + b"\n" for name, path in paths)


def _can_be_listed(name: bytes) -> bool:
    try:
        return not set("\n\r\\") & set(name.decode())
    except UnicodeDecodeError:
        return False


def code_artifact(code: CodeSection) -> Artifact:
    """The archive of the code of a reader of the user's own."""
    return Artifact(generic_purl(f"{Path(code.folder).name}.tar"), code.sha256, "main")


def take_code(code: CodeSection, base: Path, store: Store) -> None:
    """Put the archive of a reader's folder below `base` into the store, unless the store has it.

    Raises:
        NotFoundError: it is neither there nor in the store.
        InputError: it is another than the configuration's sha256 says.
    """
    if code.sha256 and store.has(f"sha256:{code.sha256}"):
        return
    archive = source_archive(base / code.folder)
    found = hashlib.sha256(archive).hexdigest()
    if found != code.sha256:
        raise InputError(f"{base / code.folder}: its sha256 is {found}, data.code.sha256 is {code.sha256 or 'empty'}")
    store.add(archive)


def stored_file(place: Place, store: Store) -> SourceFile:
    """The one file of a place that is no folder. A member of a Debian package is unpacked into the store's cache.

    Raises:
        NotFoundError: the store does not hold it, or the package has no such member.
    """
    digest = f"sha256:{place.sha256}"
    _require(place, store)
    if not place.member:
        artifact = place_artifact(place)
        return SourceFile(place.file or artifact.file_name or artifact.purl, store.path(digest))
    kept = store.cache / "members" / hashlib.sha256(f"{digest} {place.member}".encode()).hexdigest()
    if not kept.exists():
        data = deb_members(place, store).get(place.member.lstrip("./"))
        if data is None:
            raise NotFoundError(f"{place.artifact} has no file {place.member!r} (member)")
        member = store.add(data)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.unlink(missing_ok=True)
        kept.hardlink_to(store.path(member))
    return SourceFile(Path(place.member).name, kept)


def stored_folder(place: Place, store: Store) -> list[SourceFile]:
    """The files of a place that is a folder, by path.

    Raises:
        NotFoundError: the store does not hold the list or a file.
        InputError: the place is no folder.
    """
    _require(place, store)
    path = store.path(f"sha256:{place.sha256}")
    if path.stat().st_size > _LIST_LIMIT:
        raise InputError(f"{place.file or place.artifact}: expected a folder, found a file")
    return [SourceFile(name, store.path(f"sha256:{sha256}")) for sha256, name in _lines(path, place)]


def listed_artifacts(place: Place, store: Store) -> list[Artifact]:
    """The files of a folder as artifacts of their own, where the store has its list; none for a file."""
    digest = f"sha256:{place.sha256}"
    if not place.file or not store.has(digest) or store.path(digest).stat().st_size > _LIST_LIMIT:
        return []
    try:
        lines = _lines(store.path(digest), place)
    except InputError:
        return []
    return [Artifact(generic_purl(name), sha256, "main") for sha256, name in lines]


def generic_purl(path: str) -> str:
    """The package URL of a file that nobody distributes: its own name."""
    name = quote(Path(path).name, safe="")
    return f"pkg:generic/{name}?file_name={name}"


def deb_members(place: Place, store: Store) -> dict[str, bytes]:
    """Path inside the package → bytes of every file of a Debian package."""
    _require(place, store)
    entries = read_deb(store.path(f"sha256:{place.sha256}"), place.artifact)
    return {entry.path: entry.read() for entry in entries if entry.type == "file"}


def _require(place: Place, store: Store) -> None:
    if not store.has(f"sha256:{place.sha256}"):
        raise NotFoundError(
            f"the data {place.artifact or place.file} (sha256 {place.sha256}) are not in the store {store.root}",
            hint="A local file is looked for beside the configuration." if place.file else "",
        )


def _lines(path: Path, place: Place) -> list[tuple[str, str]]:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{place.file or place.artifact}: expected a folder, found a file") from error
    return _listed_in(text, place.file or place.artifact)


def _listed_in(text: str, where: str) -> list[tuple[str, str]]:
    """The files of a folder's list: names may hold every separator but a line feed."""
    return [_listed(line, where) for line in text.removesuffix("\n").split("\n")] if text else []


def _listed(line: str, where: str) -> tuple[str, str]:
    match = _LINE.match(line)
    if match is None or ".." in Path(match[2]).parts:
        raise InputError(f"{where}: expected a folder's list, found the line {line[:80]!r}")
    return match[1], match[2]
