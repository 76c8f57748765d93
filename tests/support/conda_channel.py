"""A real conda channel: packages in both formats, indexed by conda-index, to be served on loopback.

Its Python is Debian's, repackaged from the locked files with the shared libraries that it needs as packages beside it;
its NumPy is the locked wheel. `plain_packages` says what else there is.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conda_package import PLACEHOLDER, Package, PackageFile, write_package
from loopback import Site, serve
from servers import program

from reprise.artifacts.fetch import fetch
from reprise.image.deb import read_deb
from reprise.image.entries import Entry
from reprise.lock.environment import read_environment
from reprise.lock.read import read_lock
from reprise.store import Store

ROOT = Path(__file__).parents[2]
NAME = "channel"
PYTHON_VERSION = "3.11.2"
SITE_PACKAGES = "lib/python3.11/dist-packages"
"""Where Debian's Python looks, and so what the python package's record says (`python_site_packages_path`)."""

SMALL = 300

LIBRARIES = {
    "libexpat": "libexpat1",
    "libzlib": "zlib1g",
    "openssl": "libssl3",
    "libffi": "libffi8",
    "xz": "liblzma5",
    "bzip2": "libbz2-1.0",
}
"""conda packages of shared libraries, and the Debian package that each is made from."""


@dataclass(frozen=True)
class ChannelPackage:
    """One file of the channel."""

    path: Path
    name: str
    version: str
    build: str
    subdir: str
    depends: tuple[str, ...]
    sha256: str
    md5: str

    def url(self, channel_url: str) -> str:
        return f"{channel_url}/{self.subdir}/{self.path.name}"


@dataclass(frozen=True)
class Channel:
    """A channel's folder (with `linux-64/`, `noarch/` and their repodata.json), and the packages in it."""

    folder: Path
    packages: tuple[ChannelPackage, ...]

    def package(self, name: str, version: str = "", suffix: str = "") -> ChannelPackage:
        """The one package of that name (and version, and file name's end)."""
        found = [
            each
            for each in self.packages
            if each.name == name and version in ("", each.version) and each.path.name.endswith(suffix)
        ]
        assert len(found) == 1, (name, version, suffix, [each.path.name for each in found])
        return found[0]

    @contextmanager
    def serve(self) -> Iterator[tuple[str, Site]]:
        """The channel's address on loopback, and the site, which knows what it was asked and can misbehave."""
        files = {
            f"/{NAME}/{path.relative_to(self.folder)}": path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and "/." not in str(path.relative_to(self.folder)) and not path.name.startswith(".")
        }
        with serve(Site(files=files)) as site:
            yield f"{site.address}/{NAME}", site


def make_channel(folder: Path, *, small: int = SMALL) -> Channel:
    """Write and index the whole channel in `folder` (which becomes `…/channel`).

    Args:
        small: how many of the packages `small-000`, `small-001`, … there are.
    """
    channel = folder / NAME
    (channel / "linux-64").mkdir(parents=True)
    (channel / "noarch").mkdir()
    for package in [*python_packages(), numpy_package(), *plain_packages(folder), *small_packages(small)]:
        write_package(channel, package)
    for package in (BOTH, OLD):
        write_package(channel, package, ".tar.bz2")
    return index_channel(channel)


def index_channel(channel: Path) -> Channel:
    """Index (again) the packages that lie in `channel`."""
    script = Path(__file__).with_name("index_channel.py")
    subprocess.run([sys.executable, str(script), str(channel), NAME], check=True, capture_output=True, text=True)
    packages = []
    for subdir in ("linux-64", "noarch"):
        repodata = json.loads((channel / subdir / "repodata.json").read_bytes())
        for file, record in sorted({**repodata["packages"], **repodata["packages.conda"]}.items()):
            path = channel / subdir / file
            sha256, md5 = (hashlib.new(kind, path.read_bytes()).hexdigest() for kind in ("sha256", "md5"))
            assert (sha256, md5) == (record["sha256"], record["md5"]), file
            depends = tuple(record["depends"])
            packages.append(
                ChannelPackage(path, record["name"], record["version"], record["build"], subdir, depends, sha256, md5)
            )
    return Channel(channel, tuple(packages))


def locked_artifact(name: str) -> Path:
    """The file of an artifact that `torch-cpu` locks."""
    lock = read_lock(ROOT / "locks" / "torch-cpu")
    (artifact,) = [each for each in lock.artifacts if each.name == name]
    store = Store.open()
    fetch([artifact], store, read_environment(ROOT / "containers" / "images" / "torch-cpu.toml").sources)
    return store.path(artifact.digest)


def python_packages() -> list[Package]:
    """Python and its shared libraries, moved from Debian's places to conda's; they find each other by RPATH."""
    debian = [_deb(name) for name in ("libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal")]
    files: dict[str, PackageFile] = {}
    for entry in [entry for entries in debian for entry in entries]:
        place = entry.path.removeprefix("usr/")
        if entry.path.startswith(("usr/bin/python3", "usr/lib/python3.11/")) and entry.type != "directory":
            files[place] = _file(entry)
    files |= {f"bin/{link}": PackageFile(target="python3.11") for link in ("python", "python3")}
    python = Package(
        "python",
        PYTHON_VERSION,
        "0_cpython",
        depends=tuple(LIBRARIES),
        files=_with_rpaths(files),
        index={"python_site_packages_path": SITE_PACKAGES},
    )
    libraries = [
        Package(name, _debian_version(deb), "0", files=_with_rpaths(_library_files(deb)))
        for name, deb in LIBRARIES.items()
    ]
    return [python, *libraries]


def _deb(name: str) -> list[Entry]:
    return read_deb(locked_artifact(name), name)


def _debian_version(name: str) -> str:
    control = next(each for each in _deb(name) if each.path == f"var/lib/dpkg/status.d/{name}").read().decode()
    found = re.search(r"^Version: (?:\d+:)?([0-9.]+)", control, re.MULTILINE)
    assert found
    return found[1].strip(".")


def _library_files(deb: str) -> dict[str, PackageFile]:
    folder = "usr/lib/x86_64-linux-gnu/"
    entries = [(each.path.replace(folder, "", 1), each) for each in _deb(deb) if each.path.startswith(folder)]
    # zlib1g and libexpat1 ship in /lib, which the reader has merged into /usr/lib
    return {f"lib/{path}": _file(each) for path, each in entries if each.type != "directory"}


def _file(entry: Entry) -> PackageFile:
    return PackageFile(b"" if entry.target else entry.read(), entry.mode, entry.target)


def _with_rpaths(files: dict[str, PackageFile]) -> dict[str, PackageFile]:
    """ELF files look for libraries in the prefix's `lib`, as conda-build leaves them (`$ORIGIN/../lib`)."""
    patchelf = program("patchelf", "patchelf")
    patched = dict(files)
    with tempfile.TemporaryDirectory() as scratch:
        for name, item in files.items():
            if item.data.startswith(b"\x7fELF"):
                path = Path(scratch, "file")
                path.write_bytes(item.data)
                up = "/".join([".."] * name.count("/"))
                subprocess.run([patchelf, "--force-rpath", "--set-rpath", f"$ORIGIN/{up}/lib", str(path)], check=True)
                patched[name] = PackageFile(path.read_bytes(), item.mode)
    return patched


def numpy_package() -> Package:
    """NumPy from its wheel, as a package for one platform and one Python."""
    with zipfile.ZipFile(locked_artifact("numpy")) as wheel:
        files = {
            f"{SITE_PACKAGES}/{info.filename}": PackageFile(
                wheel.read(info), 0o755 if (info.external_attr >> 16) & 0o111 else 0o644
            )
            for info in wheel.infolist()
            if not info.is_dir()
        }
    version = next(found[1] for name in files if (found := re.search(r"/numpy-(.+)\.dist-info/", name)))
    return Package("numpy", version, "py311_0", depends=("python >=3.11,<3.12",), files=files)


def _text(text: str, **more: object) -> PackageFile:
    return PackageFile(text.encode(), **more)  # type: ignore[arg-type]


BOTH = Package("both", files={"share/both.txt": _text("the same in both formats\n")})
"""In the channel as `.conda` and as `.tar.bz2`."""

OLD = Package(
    "old",
    legacy=True,
    files={
        "share/old.cfg": _text(f"prefix={PLACEHOLDER}\n", prefix_mode="text"),
        "bin/old": _text(f"#!{PLACEHOLDER}/bin/python\nprint('old')\n", mode=0o775, prefix_mode="text"),
        "share/old.txt": _text("not linked\n", no_link=True),
        "share/old-link.txt": PackageFile(target="old.txt"),
    },
)
"""`.tar.bz2` with info/files, has_prefix and no_link, as conda-build wrote before paths.json."""

SETTINGS = Package(
    "settings",
    noarch="generic",
    files={
        "etc/conda/activate.d/settings.sh": _text(
            '#!/bin/sh\n# where the settings are\nexport SETTINGS_HOME="${CONDA_PREFIX}/share/settings"\n'
            ": ${SETTINGS_LEVEL:=3}\nexport SETTINGS_LEVEL\n"
        ),
        "etc/conda/env_vars.d/settings.json": _text('{"SETTINGS_MODE": "plain"}'),
        "share/settings/settings.toml": _text("level = 3\n"),
    },
)

HELLO_SOURCE = 'import sys\n\n\ndef main() -> int:\n    print("hello from", sys.prefix)\n    return 0\n'


def hello(version: str, *depends: str) -> Package:
    return Package(
        "hello",
        version,
        "pyh0",
        noarch="python",
        depends=("python >=3.9", *depends),
        entry_points=("hello = hello.cli:main", "hello-main=hello.cli:main"),
        files={
            "site-packages/hello/__init__.py": _text(f"__version__ = {version!r}\n"),
            "site-packages/hello/cli.py": _text(HELLO_SOURCE),
            "site-packages/hello/__pycache__/cli.cpython-311.pyc": PackageFile(b"another Python's work"),
            f"site-packages/hello-{version}.dist-info/METADATA": _text(
                f"Metadata-Version: 2.1\nName: hello\nVersion: {version}\n"
            ),
            f"site-packages/hello-{version}.dist-info/INSTALLER": _text("conda\n"),
            "python-scripts/greet": _text(
                f"#!{PLACEHOLDER}/bin/python\nfrom hello.cli import main\nmain()\n", mode=0o755, prefix_mode="text"
            ),
        },
    )


C_SOURCE = """
#include <stdio.h>
static const char prefix[] = "%s";
int main(void) { printf("%%s\\n", prefix); return 0; }
"""


def where_package(scratch: Path) -> Package:
    """A C program with its prefix compiled in."""
    source, binary = scratch / "where.c", scratch / "where"
    source.write_text(C_SOURCE % f"{PLACEHOLDER}/share/where")
    subprocess.run([program("gcc", "gcc"), "-O1", "-o", str(binary), str(source)], check=True)
    return Package(
        "where",
        files={
            "bin/where": PackageFile(binary.read_bytes(), 0o775, prefix_mode="binary"),
            "bin/where-is": PackageFile(target="where"),
            "lib/pkgconfig/where.pc": _text(f"prefix={PLACEHOLDER}\nlibs=-L{PLACEHOLDER}/lib\n", prefix_mode="text"),
        },
    )


def plain_packages(scratch: Path) -> list[Package]:
    return [
        where_package(scratch),
        hello("1.0"),
        hello("1.1"),
        hello("2.0", "settings"),
        SETTINGS,
        BOTH,
        Package(
            "scripted",
            files={"share/scripted.txt": _text("x\n"), "bin/.scripted-post-link.sh": _text("date\n", mode=0o755)},
        ),
        Package("clash-one", files={"share/clash.txt": _text("one\n"), "share/one.txt": _text("1\n")}),
        Package("clash-two", files={"share/clash.txt": _text("two\n"), "share/two.txt": _text("2\n")}),
        Package("needs-gpu", depends=("__cuda >=12",), files={"share/gpu.txt": _text("x\n")}),
        Package("needs-new-glibc", depends=("__glibc >=2.99",), files={"share/glibc.txt": _text("x\n")}),
    ]


def small_packages(count: int) -> list[Package]:
    """Many packages of a few small files, each depending on the one before it."""
    return [
        Package(
            f"small-{number:03}",
            noarch="generic",
            depends=(f"small-{number - 1:03}",) if number else (),
            files={
                f"share/small/{number:03}.txt": _text(f"{number}\n" * 20),
                f"share/small/{number:03}.cfg": _text(f"prefix = {PLACEHOLDER}\n", prefix_mode="text"),
            },
        )
        for number in range(count)
    ]
