"""The image's own Python, made to run on any Linux host: the builder's only interpreter.

Runs on the host. Debian's files, and conda's where the image's Python is a conda package, are unpacked into a cache
folder and Python is started through their own dynamic linker, with their own libraries: neither the host's Python, nor
its C library, zlib or libzstd can change a byte. Where the folder lies is not in any of the bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import reprise
import reprise_trainer
from reprise.image.deb import read_deb
from reprise.image.entries import Entry, checked_path
from reprise.image.format import PythonLayout
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError, StorageError

_STARTS_PYTHON = re.compile(r"(lib)?python3\..*|libc6|zlib1g|libbz2-1\.0|libexpat1|liblzma5|libssl3.*")
C_LIBRARY = "libc6"
"""The Debian package of the dynamic linker and the C library, which conda's packages expect from the system."""

_TREE_FORMAT = 2
"""Raise it when the same packages are unpacked differently."""

_TOOLS = "tools"
"""Folder of the unpacked wheels."""

BUILDER_ENVIRONMENT = MappingProxyType(
    {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=2097152:glibc.malloc.trim_threshold=4194304"}
)
"""The builder's only environment variable: large pieces go back to the kernel at once (glibc manual, "Memory Allocation
Tunables"). Left alone, glibc raises these limits to the largest piece that it has seen, and each writer and thread
keeps that much: measured, 744 MB at the peak of a build of 5 GB with 32 and 64 MB here, 553 MB so, in the same time."""


def starts_python(package: str) -> bool:
    """Whether the builder's interpreter needs the Debian package of this name.

    It does for the interpreter, its standard library, and the libraries that hash, inflate and unpack. Other packages
    of a lock must not count, or a change of any of them would build every layer again.
    """
    return _STARTS_PYTHON.fullmatch(package) is not None


@dataclass(frozen=True, slots=True)
class CondaPython:
    """The image's Python where conda brings it: `layout`, and the packages that it needs as (purl, sha256, file)."""

    layout: PythonLayout
    packages: tuple[tuple[str, str, Path], ...]


@dataclass(frozen=True, slots=True)
class ImagePython:
    """`argv`: the start of a command line, to be followed by `-c` or `-m` and so on. `digest`: of all that it runs.

    `packages` holds zstandard. `layout` says where this Python looks for packages in the image.
    """

    argv: tuple[str, ...]
    digest: str
    packages: Path
    layout: PythonLayout

    def command(self, module: str) -> list[str]:
        """A command line that calls `main()` of a module of this project under the image's Python."""
        ours = list(dict.fromkeys(str(_above(each)) for each in (reprise, reprise_trainer)))
        start = _START.format(
            packages=str(self.packages), bytecode=str(self.packages / "bytecode"), ours=ours, module=module
        )
        return [*self.argv, "-c", start]


_START = """
import sys
sys.path.append({packages!r})
sys.pycache_prefix, sys.dont_write_bytecode = {bytecode!r}, False
import concurrent.futures, configparser, dataclasses, email, importlib.metadata, json, lzma, tarfile, zipfile, zstandard
try:
    from isal import isal_zlib
except ImportError:
    pass
sys.pycache_prefix, sys.dont_write_bytecode = None, True
sys.path += {ours!r}
from {module} import main
sys.exit(main())
"""
"""How the builder starts. The unpacked tree never changes, so the bytecode of what it imports from there is kept beside
it; that of this project's own sources never is, since somebody may be editing them."""


def image_python(
    debs: Sequence[tuple[str, Path]],
    zstandard_wheel: tuple[str, Path],
    cache: Path,
    tools: Sequence[tuple[str, Path]] = (),
    conda: CondaPython | None = None,
) -> ImagePython:
    """Unpack Python, unless an earlier call has, and say how to start it.

    Args:
        debs: pairs of sha256 (bare hex) and file: the packages of the lock for which `starts_python` holds; of them the
            C library alone where `conda` is given.
        zstandard_wheel: sha256 and file of the wheel that brings libzstd.
        cache: folder for unpacked trees, one a digest; made if absent.
        tools: sha256 and file of further wheels that the builder may import.
        conda: the Python that conda packages bring; None where Debian's is the image's.

    Raises:
        InputError: a package is malformed, or there is no interpreter in them.
        StorageError: `cache` cannot be written; nothing is left behind.
    """
    wheels = sorted(sha256 for sha256, _ in (zstandard_wheel, *tools))
    key = {"format": _TREE_FORMAT, "debs": sorted(sha256 for sha256, _ in debs), "wheels": wheels}
    if conda is not None:
        key |= {"conda": sorted(sha256 for _, sha256, _ in conda.packages), "layout": asdict(conda.layout)}
    digest = sha256_digest(canonical_json(key))
    tree = cache / digest.removeprefix("sha256:")
    if not tree.is_dir():
        _unpack([path for _, path in debs], [path for _, path in (zstandard_wheel, *tools)], tree, conda)
    linker = _only(tree, "usr/lib/*/ld-linux*.so.*", "no dynamic linker (package libc6)")
    libraries = str(linker.parent)
    if conda is None:
        python = _only(tree, "usr/bin/python3.*", "no interpreter (package python3.11-minimal or like it)")
        layout = PythonLayout(python.name.removeprefix("python"))
    else:
        layout = conda.layout
        python = _only(tree, layout.interpreter.lstrip("/"), f"no interpreter {layout.interpreter} (package python)")
        libraries = f"{tree / layout.prefix / 'lib'}:{libraries}"
    library_path = ("--library-path", libraries)
    # -I: no environment, no user folder; -S: no site; -B: no bytecode beside our sources.
    flags = ("-I", "-S", "-B", "-X", "utf8")
    return ImagePython((str(linker), *library_path, str(python), *flags), digest, tree / _TOOLS, layout)


def _above(package: object) -> Path:
    """The folder to put on `sys.path` so that `package` is found."""
    return Path(str(package.__file__)).resolve().parent.parent  # type: ignore[attr-defined]


def _only(tree: Path, pattern: str, missing: str) -> Path:
    found = sorted(path for path in tree.glob(pattern) if not path.name.endswith("-config"))
    if len(found) != 1:
        reason = missing if not found else f"several files {pattern}"
        raise InputError(f"the lock's Debian packages cannot start a Python: {reason}")
    return found[0]


def _unpack(debs: Iterable[Path], wheels: Iterable[Path], tree: Path, conda: CondaPython | None) -> None:
    """Make `tree` whole or not at all."""
    aside: Path | None = None
    try:
        tree.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=tree.parent, prefix=".unpack-"))
        with ThreadPoolExecutor() as executor:
            for entries in executor.map(lambda deb: read_deb(deb, deb.name), debs):
                for entry in entries:
                    _write(aside, entry)
        if conda is not None:
            _unpack_conda(conda, aside)
        for wheel in wheels:
            _unpack_wheel(wheel, aside / _TOOLS)
        if not (aside / _TOOLS / "zstandard" / "__init__.py").is_file():
            raise InputError(f"{' and '.join(wheel.name for wheel in wheels)} is not the wheel of zstandard")
        os.sync()  # a tree that has its final name is trusted from then on
        _rename(aside, tree)
    except OSError as error:
        raise StorageError(
            f"cannot unpack the image's Python to {tree}: {error.strerror or error}",
            hint="Free some space or choose another store, and run the command again.",
        ) from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def _unpack_conda(conda: CondaPython, tree: Path) -> None:
    from reprise.image.conda import read_conda  # it needs zstandard, which a host without conda packages may lack

    for purl, _, path in conda.packages:
        for entry in read_conda(path, purl, conda.layout, spool=tree).entries:
            _write(tree, entry)


def _rename(aside: Path, tree: Path) -> None:
    try:
        aside.rename(tree)
    except OSError:
        if not tree.is_dir():  # else another process was faster; its tree is the same
            raise


def _write(tree: Path, entry: Entry) -> None:
    path = tree / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    match entry.type:
        case "directory":
            path.mkdir(exist_ok=True)
        case "symlink":
            path.unlink(missing_ok=True)
            path.symlink_to(_within(tree, path, entry.target))
        case "file":
            path.write_bytes(entry.read())
            path.chmod(stat.S_IRUSR | stat.S_IWUSR | entry.mode)


def _within(tree: Path, link: Path, target: str) -> str:
    """An absolute link would leave the tree and reach the host's files: make it relative."""
    return os.path.relpath(tree / target.lstrip("/"), link.parent) if target.startswith("/") else target


def _unpack_wheel(wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if not name.partition("/")[0].endswith(".dist-info") and not name.endswith("/"):
                    path = folder / checked_path(name, wheel.name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(archive.read(name))
    except zipfile.BadZipFile as error:
        raise InputError(f"{wheel.name} is not a zip file that can be read: {error}") from error
