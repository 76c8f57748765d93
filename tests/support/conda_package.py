"""conda packages of both formats, written by conda-package-streaming (`.conda`) and from their description."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda_package_streaming.create import conda_builder

PLACEHOLDER = ("/placehold" + "_placehold" * 25)[:255]
"""The prefix that conda-build compiles in: 255 bytes, to be replaced by any shorter one."""

_TIME = 1_700_000_000


@dataclass(frozen=True)
class PackageFile:
    """One path of a package: bytes, or a link's `target`. `prefix_mode` says how a prefix in it is replaced."""

    data: bytes = b""
    mode: int = 0o644
    target: str = ""
    prefix_mode: str = ""  # "text", "binary" or empty
    placeholder: str = PLACEHOLDER
    no_link: bool = False
    directory: bool = False


@dataclass(frozen=True)
class Package:
    """A conda package before it is packed. `legacy` ones say what they hold in files, not in paths.json."""

    name: str
    version: str = "1.0"
    build: str = "0"
    subdir: str = "linux-64"
    noarch: str = ""  # "python" or "generic"; its subdir is noarch then
    depends: tuple[str, ...] = ()
    files: Mapping[str, PackageFile] = field(default_factory=dict)
    entry_points: tuple[str, ...] = ()
    index: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, bytes] = field(default_factory=dict)
    legacy: bool = False

    @property
    def stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    @property
    def folder(self) -> str:
        return "noarch" if self.noarch else self.subdir


def write_package(channel: Path, package: Package, suffix: str = ".conda") -> Path:
    """Pack `package` into its subdir of `channel`; `suffix` is `.conda` or `.tar.bz2`."""
    folder = channel / package.folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package.stem}{suffix}"
    if suffix == ".conda":
        with conda_builder(package.stem, folder, compression_level=1) as archive:
            _add_all(archive, package)
    else:
        with tarfile.open(path, "w:bz2", compresslevel=1, format=tarfile.GNU_FORMAT) as archive:
            _add_all(archive, package)
    return path


def _add_all(archive: tarfile.TarFile, package: Package) -> None:
    members = {**_info(package), **package.files}
    for name, item in members.items():
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = item.mode, _TIME
        if item.directory:
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        elif item.target:
            info.type, info.linkname, info.mode = tarfile.SYMTYPE, item.target, 0o777
        info.size = 0 if item.target or item.directory else len(item.data)
        archive.addfile(info, io.BytesIO(item.data))


def _info(package: Package) -> dict[str, PackageFile]:
    index: dict[str, Any] = {
        "name": package.name,
        "version": package.version,
        "build": package.build,
        "build_number": 0,
        "depends": list(package.depends),
        "license": "MIT",
        "subdir": package.folder,
        "arch": None if package.noarch else "x86_64",
        "platform": None if package.noarch else "linux",
        "timestamp": _TIME * 1000,
        **({"noarch": package.noarch} if package.noarch else {}),
        **package.index,
    }
    files = {"info/index.json": _json(index), "info/about.json": _json({"license": "MIT"})}
    if package.noarch == "python":
        noarch = {"type": "python", "entry_points": list(package.entry_points)}
        files["info/link.json"] = _json({"noarch": noarch, "package_metadata_version": 1})
    files |= _legacy_lists(package) if package.legacy else {"info/paths.json": _json(_paths(package))}
    return {name: PackageFile(data) for name, data in {**files, **package.info}.items()}


def _paths(package: Package) -> dict[str, Any]:
    paths = []
    for name, item in sorted(package.files.items()):
        entry: dict[str, Any] = {
            "_path": name,
            "path_type": "softlink" if item.target else "directory" if item.directory else "hardlink",
            "sha256": hashlib.sha256(item.data).hexdigest(),
            "size_in_bytes": len(item.data),
        }
        if item.prefix_mode:
            entry |= {"file_mode": item.prefix_mode, "prefix_placeholder": item.placeholder}
        if item.no_link:
            entry["no_link"] = True
        paths.append(entry)
    return {"paths": paths, "paths_version": 1}


def _legacy_lists(package: Package) -> dict[str, bytes]:
    """info/files, info/has_prefix and info/no_link of conda-build before version 2."""
    prefixed = [
        f"{item.placeholder} {item.prefix_mode} {name}" for name, item in package.files.items() if item.prefix_mode
    ]
    return {
        "info/files": "".join(f"{name}\n" for name in package.files).encode(),
        "info/has_prefix": "".join(f"{line}\n" for line in prefixed).encode(),
        "info/no_link": "".join(f"{name}\n" for name, item in package.files.items() if item.no_link).encode(),
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2, sort_keys=True).encode()
