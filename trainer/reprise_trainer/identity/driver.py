"""NVIDIA's driver, which the container runtime puts into a GPU run: it is the host's, so no layer can list it.

Its files are known by their mounts: read-only, in the places and with the names that NVIDIA's container tools use, and
never over a path of the image. They are hashed, for the record. What the tools write beside them is allowed as far as
it leads to them: links to a library of the same name, folders that hold nothing else, and a linker's cache in which
every name stands for a file of the image or of the driver. All else is refused as ever.

Sources: libnvidia-container's nvc_info.c (names) and nvc_mount.c (places, flags); nvidia-container-toolkit's hooks
`update-ldcache` and `create-symlinks`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reprise_trainer.identity.file_list import ListedFile
from reprise_trainer.identity.hashing import start_hashing
from reprise_trainer.identity.library_cache import SIZE_LIMIT, cached_libraries
from reprise_trainer.identity.measure import ADDED, CHANGED_BYTES, Difference, Measurement
from reprise_trainer.identity.mounts import AllowedMount, Mount

_FOLDERS = r"(usr/)?lib(64|/(x86_64|aarch64)-linux-gnu)?(/vdpau)?"
_STEMS = (
    "cuda|cudadebugger|nvcuvid|nvoptix|vdpau_nvidia|(GLX|EGL|GLESv2|GLESv1_CM)_nvidia|nvidia-(ml|cfg|nscq|opencl|"
    "gpucomp|ptxjitcompiler|fatbinaryloader|allocator|compiler|pkcs11|pkcs11-openssl3|nvvm|nvvm70|tileiras|encode|"
    "opticalflow|eglcore|glcore|tls|glsi|fbc|ifr|rtcore|glvkspirv|cbl|ngx|sandboxutils)"
)
_LIBRARY = re.compile(rf"(?P<folder>{_FOLDERS})/lib(?P<stem>{_STEMS})\.so(\.\d+)*")
_CUDA = re.compile(rf"{_FOLDERS}/libcuda\.so\.(?P<version>\d+(\.\d+)+)")
_PROGRAMS = r"(usr/)?bin/(nvidia-(smi|debugdump|persistenced|cuda-mps-control|cuda-mps-server)|nv-fabricmanager)"
_FIRMWARE = r"(usr/)?lib/firmware/nvidia/[\d.]+/gsp\w*\.bin"

_ANY: frozenset[str] = frozenset()
DRIVER_FILES = (
    AllowedMount(_LIBRARY.pattern, _ANY, "a library of NVIDIA's driver", needs_read_only=True),
    AllowedMount(_PROGRAMS, _ANY, "a program of NVIDIA's driver", needs_read_only=True),
    AllowedMount(_FIRMWARE, _ANY, "firmware of NVIDIA's driver", needs_read_only=True),
)
DRIVER_MOUNTS = (
    *DRIVER_FILES,
    AllowedMount(r"dev/nvidia(ctl|-uvm|-uvm-tools|-modeset|\d+)", _ANY, "NVIDIA's devices"),
    AllowedMount(r"dev/nvidia-caps/nvidia-cap\d+", _ANY, "NVIDIA's devices, parts of one"),
    AllowedMount(r"proc/driver/nvidia(/params)?", frozenset({"tmpfs"}), "what the driver says of itself"),
    AllowedMount(r"proc/driver/nvidia/gpus/[0-9a-f:.]+", frozenset({"proc"}), "what the driver says of a GPU"),
    AllowedMount(r"(var/)?run/nvidia-(persistenced|fabricmanager)/socket", _ANY, "a service of NVIDIA's driver"),
)
"""What NVIDIA's container tools mount for the capabilities "compute" and "utility"."""

CACHE = "etc/ld.so.cache"
_CACHE_SOURCE = re.compile(r"etc/ld\.so\.conf\.d/(00-)?nvcr-\d+\.conf")
_DEVICE = re.compile(r"dev/nvidia.*")
_MODULE_VERSION = re.compile(r"^NVRM version:.*Kernel Module.*?\s(\d+(?:\.\d+)+)\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DriverFile:
    """A file of the driver: path relative to the root, sha256 (bare hex), bytes, and how to see that it was changed."""

    path: str
    sha256: str
    bytes: int
    stamp: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver that was put into a run, with what is wrong about it. `version` is that of libcuda, `module` that of
    the kernel's part; empty where there is none. `cache` is the sha256 of a linker's cache that names the driver too,
    `explained` are the paths that differ from the image because of the driver."""

    version: str = ""
    module: str = ""
    files: tuple[DriverFile, ...] = ()
    cache: str = ""
    problems: tuple[str, ...] = ()
    explained: frozenset[str] = field(default=frozenset())

    @property
    def paths(self) -> frozenset[str]:
        """Paths of its files, relative to the root, as layers' lists have them."""
        return frozenset(file.path for file in self.files)

    def unexplained(self, differences: Sequence[Difference]) -> list[str]:
        """The differences from the image that the driver is no reason for, one sentence each."""
        return [str(each) for each in differences if each.path not in self.explained]

    def changed(self, root: Path = Path("/")) -> list[str]:
        """Which of its files are not what was hashed any more, one sentence each."""
        return [
            f"/{file.path}: changed during the run" for file in self.files if _stamp(root / file.path) != file.stamp
        ]


NO_DRIVER = Driver()


def find_driver(root: Path, mounts: Sequence[Mount], measurement: Measurement) -> Driver:
    """The driver in a root whose mounts are allowed, hashed; nothing where none is mounted.

    Args:
        root: the image's root folder.
        mounts: as `read_mounts` gives them.
        measurement: of the root, without what is mounted.
    """
    points = sorted({mount.point for mount in mounts if any(rule.matches(mount) for rule in DRIVER_FILES)})
    problems = _misplaced(root, mounts, measurement.listed)
    if not points:
        return Driver(problems=tuple(problems))
    stamps = {point: stamp for point in points if (stamp := _stamp(root / point))}
    problems += [f"/{point}: NVIDIA's driver has a plain file here" for point in points if point not in stamps]
    digests = start_hashing(root, [(point, stamp[2]) for point, stamp in stamps.items()]).collect()
    files = tuple(
        DriverFile(point, digest.hex(), stamp[2], stamp)
        for (point, stamp), digest in zip(stamps.items(), digests, strict=True)
        if digest is not None
    )
    problems += [f"/{point}: can't be read" for point in stamps.keys() - {file.path for file in files}]
    version, module = _version(points), _module_version(root)
    if len(version) > 1 or (module and version and module not in version):
        problems.append(f"NVIDIA's driver is of several versions: {', '.join(sorted({*version, module} - {''}))}")
    place = _Place(root, frozenset(file.path for file in files), measurement.listed)
    explained = frozenset(each.path for each in measurement.differences if place.explains(each))
    cache = place.cache_digest if CACHE in explained else ""
    return Driver("".join(version[:1]), module, files, cache, tuple(sorted(problems)), explained)


def _misplaced(root: Path, mounts: Sequence[Mount], listed: Collection[str]) -> list[str]:
    """Mounts that look like the driver's and are not: over the image's own paths, or no devices where devices are."""
    problems = []
    for mount in mounts:
        if not any(rule.matches(mount) for rule in DRIVER_MOUNTS):
            continue
        if mount.point in listed:
            problems.append(f"/{mount.point}: mounted over a path of the image, under a name of NVIDIA's driver")
        elif _DEVICE.fullmatch(mount.point) and not _is_device(root / mount.point):
            problems.append(f"/{mount.point}: NVIDIA's driver has a device here")
    return problems


@dataclass(frozen=True, slots=True)
class _Place:
    """A root with the driver's files in it: judges what else is not the image's."""

    root: Path
    files: frozenset[str]
    listed: Mapping[str, ListedFile]

    def explains(self, difference: Difference) -> bool:
        """Whether the driver's presence is why a path is not as listed."""
        path, added = difference.path, difference.what == ADDED
        if path == CACHE:
            return (added or difference.what.startswith(CHANGED_BYTES)) and self._is_honest_cache()
        if not added:
            return False
        return self._is_link(path) or self._is_folder(path) or self._is_cache_source(path)

    @property
    def cache_digest(self) -> str:
        """sha256 of the linker's cache."""
        (digest,) = start_hashing(self.root, [(CACHE, (self.root / CACHE).stat().st_size)], workers=1).collect()
        return digest.hex() if digest else ""

    def _is_link(self, path: str) -> bool:
        """A link with a library's name, to a file of the driver that is the same library."""
        name = _LIBRARY.fullmatch(path)
        if name is None or not (self.root / path).is_symlink():
            return False
        real = self._real(path)
        target = _LIBRARY.fullmatch(real)
        return real in self.files and target is not None and target["stem"] == name["stem"]

    def _is_folder(self, path: str) -> bool:
        """A folder that holds files of the driver, links to them, or such folders, and nothing else."""
        folder = self.root / path
        if folder.is_symlink() or not folder.is_dir():
            return False
        beneath = [f"{path}/{name}" for name in os.listdir(folder)]  # noqa: PTH208
        return bool(beneath) and all(
            each in self.files or self._is_link(each) or self._is_folder(each) or self._is_cache_source(each)
            for each in beneath
        )

    def _is_cache_source(self, path: str) -> bool:
        """A list of library folders for ldconfig; the linker never reads it."""
        file = self.root / path
        if not _CACHE_SOURCE.fullmatch(path) or file.is_symlink() or not file.is_file():
            return False
        return all(re.fullmatch(f"/{_FOLDERS}/?", line) for line in file.read_text("utf-8", "replace").split())

    def _is_honest_cache(self) -> bool:
        """Every name in it stands for a file of that name, which is the image's or the driver's."""
        path = self.root / CACHE
        if path.is_symlink() or not path.is_file() or path.stat().st_size > SIZE_LIMIT:
            return False
        try:
            entries = cached_libraries(path.read_bytes())
        except ValueError:
            return False
        return all(
            place.startswith("/") and Path(place).name == name and self._is_known(place.lstrip("/"))
            for name, place in entries
        )

    def _is_known(self, path: str) -> bool:
        real = self._real(path)
        return real in self.files or (real in self.listed and self.listed[real].type == "file")

    def _real(self, path: str) -> str:
        """Where a path leads in the end, relative to the root; empty if out of it."""
        real = Path(os.path.realpath(self.root / path))
        return str(real.relative_to(self.root.resolve())) if real.is_relative_to(self.root.resolve()) else ""


def _stamp(path: Path) -> tuple[int, ...]:
    """Device, inode, size and times of a plain file; empty for anything else."""
    try:
        found = path.lstat()
    except OSError:
        return ()
    if not stat.S_ISREG(found.st_mode):
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _is_device(path: Path) -> bool:
    try:
        return stat.S_ISCHR(path.lstat().st_mode)
    except OSError:
        return False


def _version(points: Sequence[str]) -> list[str]:
    return sorted({match["version"] for point in points if (match := _CUDA.fullmatch(point))})


def _module_version(root: Path) -> str:
    try:
        with (root / "proc/driver/nvidia/version").open("rb") as file:
            text = file.read(4096).decode("utf-8", "replace")
    except OSError:
        return ""
    match = _MODULE_VERSION.search(text)
    return match[1] if match else ""
