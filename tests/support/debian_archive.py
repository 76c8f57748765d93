"""A small Debian archive on disk, as apt reads it: a Release file, a Packages file and a pool."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DATE = "Sat, 04 Jan 2020 10:00:00 UTC"
CREATED = 1578132000
"""DATE in seconds since 1970."""


@dataclass(frozen=True)
class Package:
    """A package to put into the archive; `data` is its file, which apt never opens here."""

    name: str
    version: str = "1.0"
    depends: str = ""
    provides: str = ""
    architecture: str = "amd64"

    @property
    def path(self) -> str:
        version = self.version.partition(":")[2] or self.version
        return f"pool/main/{self.name[0]}/{self.name}/{self.name}_{version}_{self.architecture}.deb"

    @property
    def data(self) -> bytes:
        return f"{self.name} {self.version}".encode() * 50


def write_archive(root: Path, packages: Sequence[Package], suite: str = "bookworm") -> str:
    """Write the archive below `root`; its address."""
    for package in packages:
        file = root / package.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(package.data)
    index = "\n".join(map(_stanza, packages)).encode()
    name = "main/binary-amd64/Packages"
    folder = root / "dists" / suite
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(index)
    release = (
        f"Origin: Debian\nSuite: oldstable\nCodename: {suite}\nDate: {DATE}\nArchitectures: amd64\nComponents: main\n"
    )
    release += f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {name}\n"
    (folder / "Release").write_text(release)
    return root.as_uri()


def _stanza(package: Package) -> str:
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Architecture": package.architecture,
        "Maintainer": "nobody",
        "Depends": package.depends,
        "Provides": package.provides,
        "Filename": package.path,
        "Size": str(len(package.data)),
        "SHA256": hashlib.sha256(package.data).hexdigest(),
        "Description": "a package\n with a second line: of text",
    }
    return "".join(f"{key}: {value}\n" for key, value in fields.items() if value)
