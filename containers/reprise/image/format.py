"""Each choice that a layer's bytes depend on and that no artifact makes, in one place.

A change of anything here, or of what the writers do with it, changes digests. It belongs into a new image format
(formats.py), beside the old one: images of the old format must still come out of their locks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Kind = Literal["base", "deb", "conda", "wheel", "source"]
KINDS: tuple[Kind, ...] = ("base", "deb", "conda", "wheel", "source")

ZSTD_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+zstd"
MEDIA_TYPES = MappingProxyType({"zstd": ZSTD_LAYER_TYPE})
"""OCI image spec v1.1, layer.md, by compression."""

FILE_MODE = 0o644
PROGRAM_MODE = 0o755
SYMLINK_MODE = 0o777
DIRECTORY_MODE = 0o755
DIRECTORY_MODES = MappingProxyType({"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700})
"""The only directories whose mode is not DIRECTORY_MODE, whatever the artifacts say: a directory that two layers share
has one mode."""

USR_MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Top folders that are symlinks into usr (Debian's merged-/usr); packages still name some paths the old way."""

RUN_FOLDERS = MappingProxyType({"var/run": "run", "var/lock": "run/lock"})
"""Folders that Debian ships as such, and that configuring base-files turns into the symlinks of our base layer."""

DROPPED_FOLDERS = (
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
)
"""Folders of Debian packages that nothing in an image reads. Copyright files in usr/share/doc stay: licences ask for
them."""

STATUS_FOLDER = "var/lib/dpkg/status.d"
"""Where images without dpkg keep each package's control fields, so that scanners see it (as distroless images do)."""

INSTALLER = b"reprise\n"
"""Content of `*.dist-info/INSTALLER` (packaging.python.org, "Recording installed projects")."""


@dataclass(frozen=True, slots=True)
class PythonLayout:
    """Where the image's Python `version` ("3.11") looks for what is installed beside its own packages.

    It is Debian's, unless `site_packages` (relative to `prefix`) is set: then it is the one of the conda environment at
    `prefix` (relative to the root, "opt/conda"). A conda environment without a Python has a prefix alone.
    """

    version: str
    prefix: str = ""
    site_packages: str = ""

    @property
    def packages(self) -> str:
        if self.site_packages:
            return f"{self.prefix}/{self.site_packages}"
        return f"usr/local/lib/python{self.version}/dist-packages"

    @property
    def scripts(self) -> str:
        return f"{self.data}/bin"

    @property
    def data(self) -> str:
        return self.prefix if self.site_packages else "usr/local"

    def headers(self, project: str) -> str:
        return f"{self.data}/include/python{self.version}/{project}"

    @property
    def interpreter(self) -> str:
        return f"/{self.prefix if self.site_packages else 'usr'}/bin/python{self.version}"

    @property
    def compiled_folders(self) -> tuple[str, ...]:
        """Folders on `sys.path`, with a slash at the end: their `.py` files get bytecode."""
        if self.site_packages:
            return (f"{self.packages}/", f"{self.prefix}/lib/python{self.version}/")
        return (f"{self.packages}/", f"usr/lib/python{self.version}/", "usr/lib/python3/dist-packages/")


def running_python() -> PythonLayout:
    """The layout for the Python that runs this: in a build, the image's own."""
    return PythonLayout(f"{sys.version_info[0]}.{sys.version_info[1]}")
