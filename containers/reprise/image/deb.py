"""A Debian package as the files that unpacking it gives.

Formats: deb(5), ar(5), tar. No maintainer script runs. Paths are those of a merged-/usr system; documentation is
dropped (format.DROPPED_FOLDERS); set-id bits are dropped, since all files belong to root; hard links become files.
A package is read into memory: its tar is compressed as a whole, and its members come in any order.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reprise.image.entries import Entry, checked_path, directory, file, symlink
from reprise.image.format import DROPPED_FOLDERS, FILE_MODE, RUN_FOLDERS, STATUS_FOLDER, USR_MERGED
from reprise_trainer.errors import InputError

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60
_DROPPED = tuple(f"{folder}/" for folder in DROPPED_FOLDERS)
_DOC = "usr/share/doc/"
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""Debian policy 5.6.1, package names."""


@dataclass(frozen=True, slots=True)
class _Archive:
    """The two tars of a package, unpacked."""

    control: bytes
    data: bytes


def read_deb(path: Path, artifact: str) -> list[Entry]:
    """All paths of the package at `path` and its entry in `status.d`.

    Args:
        path: the `.deb` file.
        artifact: its name for messages.

    Raises:
        InputError: it is malformed, or holds what an image cannot (device nodes, paths outside the root).
    """
    try:
        archive = _open(path.read_bytes(), artifact)
        return [*_data_entries(archive.data, artifact), *_status(archive.control, artifact)]
    except (tarfile.TarError, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise InputError(f"{artifact} is damaged: {error}") from error


def _open(data: bytes, artifact: str) -> _Archive:
    members = dict(_ar_members(data, artifact))
    if not members.get("debian-binary", b"").startswith(b"2."):
        raise InputError(f"{artifact} is not a Debian package of format 2")
    return _Archive(_tar(members, "control.tar", artifact), _tar(members, "data.tar", artifact))


def _ar_members(data: bytes, artifact: str) -> Iterator[tuple[str, bytes]]:
    if not data.startswith(_AR_MAGIC):
        raise InputError(f"{artifact} is not a Debian package: it is not an ar archive")
    at = len(_AR_MAGIC)
    while at < len(data):
        header = data[at : at + _AR_HEADER]
        size = header[48:58].strip()
        if len(header) < _AR_HEADER or header[58:] != b"`\n" or not size.isdigit():
            raise InputError(f"{artifact} is damaged: its ar archive has a bad header at byte {at}")
        at += _AR_HEADER
        if at + int(size) > len(data):
            raise InputError(f"{artifact} is damaged: it ends within a member of its ar archive")
        yield header[:16].decode("ascii", "replace").rstrip().rstrip("/"), data[at : at + int(size)]
        at += int(size) + int(size) % 2


def _tar(members: dict[str, bytes], name: str, artifact: str) -> bytes:
    for member, data in members.items():
        if member == name:
            return data
        if member == f"{name}.xz":
            return lzma.decompress(data)
        if member == f"{name}.gz":
            return gzip.decompress(data)
        if member == f"{name}.zst":
            return _zstd(data, artifact)
    raise InputError(f"{artifact} is not a Debian package that can be read: no {name} in xz, gz, zst or plain")


def _zstd(data: bytes, artifact: str) -> bytes:
    import zstandard  # only for packages that use it: the host may not have it

    try:
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as stream:
            return stream.read()
    except zstandard.ZstdError as error:
        raise InputError(f"{artifact} is damaged: {error}") from error


def _data_entries(data: bytes, artifact: str) -> Iterator[Entry]:
    whole = memoryview(data)
    written: dict[str, Entry] = {}  # for hard links, which name an earlier member
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if name in ("", "."):
                continue
            path = _merged(checked_path(name, artifact))
            entry = _entry(member, path, whole, written, artifact)
            written[path] = entry
            if not _is_dropped(entry):
                yield entry


def _entry(member: tarfile.TarInfo, path: str, data: memoryview, written: dict[str, Entry], artifact: str) -> Entry:
    if member.isdir():
        return directory(path)
    if member.issym():
        return symlink(path, member.linkname)
    if member.islnk():
        original = written.get(_merged(checked_path(member.linkname.removeprefix("./"), artifact)))
        if original is None or original.type != "file":
            raise InputError(f"{artifact}: /{path} is a hard link to {member.linkname!r}, which is no earlier file")
        return Entry(path, "file", original.mode, size=original.size, content=original.content)
    if not member.isreg():
        raise InputError(f"{artifact}: /{path} is a device, a pipe or a sparse file; an image holds none")
    content = bytes(data[member.offset_data : member.offset_data + member.size])
    if len(content) != member.size:
        raise InputError(f"{artifact} is damaged: it ends within /{path}")
    return file(path, content, member.mode & 0o777)


def _merged(path: str) -> str:
    """The path on a system where /bin, /lib and so on are symlinks into /usr, and /var/run and /var/lock into /run."""
    top = path.partition("/")[0]
    if top in USR_MERGED:
        return f"usr/{path}"
    for old, new in RUN_FOLDERS.items():
        if top == "var" and f"{path}/".startswith(f"{old}/"):
            return new + path.removeprefix(old)
    return path


def _is_dropped(entry: Entry) -> bool:
    """Documentation goes, but what a licence asks for stays: copyright files, and links that lead to another's."""
    if not f"{entry.path}/".startswith(_DROPPED):
        return False
    package, _, rest = entry.path.removeprefix(_DOC).partition("/")
    is_link = entry.type == "symlink" and not rest
    return not (entry.path.startswith(_DOC) and package and (rest == "copyright" or is_link))


def _status(control: bytes, artifact: str) -> Iterator[Entry]:
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(control), mode="r:") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None:
                members[member.name.removeprefix("./")] = stream.read()
    fields = members.get("control", b"")
    match = re.search(rb"^Package:[ \t]*(\S+)", fields, re.MULTILINE)
    name = match[1].decode("ascii", "replace") if match else ""
    if not _NAME.fullmatch(name):
        raise InputError(f"{artifact} is not a Debian package that can be read: its control file names no package")
    yield file(f"{STATUS_FOLDER}/{name}", fields.strip(b"\n") + b"\n", FILE_MODE)
    if "md5sums" in members:
        yield file(f"{STATUS_FOLDER}/{name}.md5sums", members["md5sums"], FILE_MODE)
