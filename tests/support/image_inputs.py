"""Small wheels and Debian packages, written from their formats, and a layer's content read back by other code."""

from __future__ import annotations

import csv
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

DATED = (2021, 5, 6, 7, 8, 10)


@dataclass(frozen=True)
class TarFile:
    """One member of a tar, as Python's tarfile sees it."""

    type: str
    mode: int
    data: bytes = b""
    target: str = ""


def wheel_files(
    name: str = "small", version: str = "1.0", files: Mapping[str, bytes] | None = None, entry_points: str = ""
) -> dict[str, bytes]:
    """The members of a wheel without its RECORD."""
    info = f"{name}-{version}.dist-info"
    members = dict(files or {f"{name}/__init__.py": b"value = 1\n"})
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    members[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if entry_points:
        members[f"{info}/entry_points.txt"] = entry_points.encode()
    return members


def write_wheel(
    folder: Path,
    members: Mapping[str, bytes],
    *,
    programs: Sequence[str] = (),
    order: Callable[[Iterable[str]], list[str]] = sorted,
    date: tuple[int, int, int, int, int, int] = DATED,
    compression: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """Zip `members` and a RECORD of them; `order` and `date` should change nothing in a layer."""
    info = next(name.partition("/")[0] for name in members if ".dist-info/" in name)
    record = io.StringIO()
    csv.writer(record, lineterminator="\n").writerows([name, "", ""] for name in order([*members, f"{info}/RECORD"]))
    whole = {**members, f"{info}/RECORD": record.getvalue().encode()}
    path = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in order(whole):
            item = zipfile.ZipInfo(name, date)
            item.compress_type = compression
            item.external_attr = (0o100755 if name in programs else 0o100644) << 16
            archive.writestr(item, whole[name])
    return path


def member(
    name: str, data: bytes | None = None, *, mode: int = 0o644, kind: bytes = b"", target: str = ""
) -> tarfile.TarInfo:
    """A member for `write_deb`; `data` None makes a folder."""
    info = tarfile.TarInfo(f"./{name}")
    info.type = kind or (tarfile.DIRTYPE if data is None else tarfile.REGTYPE)
    info.mode, info.linkname, info.mtime = mode, target, 1_600_000_000
    info.size = len(data or b"")
    info.pax_headers = {"data": (data or b"").decode("latin-1")}
    return info


def write_deb(
    folder: Path,
    members: Sequence[tarfile.TarInfo],
    *,
    name: str = "small",
    control: bytes | None = None,
    suffix: str = "xz",
    mtime: int = 1_600_000_000,
) -> Path:
    """An `ar` archive of debian-binary, control.tar and data.tar (deb(5))."""
    fields = f"Package: {name}\nVersion: 1\nArchitecture: all\nDescription: test\n".encode()
    control_tar = _tar(
        [member("control", fields if control is None else control), member("md5sums", b"00  a\n")], mtime
    )
    pack: dict[str, Callable[[bytes], bytes]] = {
        "xz": lzma.compress,
        "zst": zstandard.compress,
        "gz": lambda data: __import__("gzip").compress(data),
    }
    path = folder / f"{name}_1_all.deb"
    parts = [
        ("debian-binary", b"2.0\n"),
        (f"control.tar.{suffix}", pack[suffix](control_tar)),
        (f"data.tar.{suffix}", pack[suffix](_tar(members, mtime))),
    ]
    archive = b"!<arch>\n"
    for part, data in parts:
        archive += b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (part.encode(), mtime, 0, 0, 0o100644, len(data))
        archive += data + b"\n" * (len(data) % 2)
    path.write_bytes(archive)
    return path


def _tar(members: Sequence[tarfile.TarInfo], mtime: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for info in members:
            data = info.pax_headers["data"].encode("latin-1")
            info.mtime = mtime
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def read_tar(data: bytes) -> dict[str, TarFile]:
    """All members of an uncompressed tar, by Python's tarfile; fails on a path that comes twice."""
    found: dict[str, TarFile] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for info in archive:
            assert info.name not in found, info.name
            assert (info.uid, info.gid, info.uname, info.gname, info.mtime) == (0, 0, "", "", 315_532_800), info.name
            kind = "directory" if info.isdir() else "symlink" if info.issym() else "file"
            assert info.isdir() or info.issym() or info.isreg(), info.name
            stream = archive.extractfile(info) if info.isreg() else None
            found[info.name] = TarFile(kind, info.mode, stream.read() if stream else b"", info.linkname)
    return found


def unpacked(blob: bytes) -> bytes:
    """The tar in a compressed layer."""
    return zstandard.ZstdDecompressor().decompressobj().decompress(blob)
