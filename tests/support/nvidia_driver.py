"""Files as NVIDIA's driver installs them on a host, and what its container tools make of them in a container's root.

There is no GPU here: the libraries are small and real (gcc), and the linker's cache and the links are made by the real
ldconfig with the container's root, as libnvidia-container calls it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from servers import program

VERSION = "570.86.15"
LIBRARIES = "usr/lib/x86_64-linux-gnu"
STEMS = ("cuda", "nvidia-ml", "nvidia-ptxjitcompiler")
FIRMWARE = f"usr/lib/firmware/nvidia/{VERSION}/gsp_ga10x.bin"


@dataclass
class HostDriver:
    """Source files on the host, by their place in a container (relative to its root)."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)

    def mounts(self) -> tuple[tuple[str, str, bool], ...]:
        """As a namespaces plan takes them: source, point, writable."""
        return tuple((str(source), point, False) for point, source in self.files.items())

    def volumes(self) -> list[str]:
        """As `docker run --volume` takes them."""
        return [f"{source}:/{point}:ro" for point, source in self.files.items()]


def host_driver(folder: Path) -> HostDriver:
    driver = HostDriver(folder)
    for stem in STEMS:
        library = folder / f"lib{stem}.so.{VERSION}"
        (folder / "source.c").write_text(f"int answer_{stem.replace('-', '_')}(void) {{ return 42; }}\n")
        build = [program("gcc", "gcc"), "-shared", "-fPIC", "-nostdlib", f"-Wl,-soname,lib{stem}.so.1"]
        subprocess.run([*build, "-o", library, folder / "source.c"], check=True)
        driver.files[f"{LIBRARIES}/{library.name}"] = library
    tool, firmware = folder / "nvidia-smi", folder / "gsp_ga10x.bin"
    tool.write_text("#!/bin/sh\necho driver\n")
    firmware.write_bytes(b"firmware" * 1000)
    driver.files |= {"usr/bin/nvidia-smi": tool, FIRMWARE: firmware}
    return driver


def write_container_parts(root: Path, driver: HostDriver) -> None:
    """What the container tools write into a root beside the linker's cache: points to mount on, and links."""
    for point in driver.files:
        (root / point).parent.mkdir(parents=True, exist_ok=True)
        (root / point).touch()
    for stem in STEMS:
        link = root / LIBRARIES / f"lib{stem}.so.1"
        link.symlink_to(f"lib{stem}.so.{VERSION}")
    (root / LIBRARIES / "libcuda.so").symlink_to("libcuda.so.1")


def linker_cache(image: Sequence[Path], driver: HostDriver) -> bytes:
    """The linker's cache of a root that has the image's layers and the driver: ldconfig's, on a copy of that root."""
    whole = driver.folder / "whole"
    whole.mkdir()
    for layer in image:
        subprocess.run(["cp", "-a", f"{layer}/.", whole], check=True)
    for point, source in driver.files.items():
        (whole / point).parent.mkdir(parents=True, exist_ok=True)
        (whole / point).write_bytes(source.read_bytes())
    (whole / "etc/ld.so.conf").write_text(f"/{LIBRARIES}\n")
    subprocess.run([program("ldconfig", "libc-bin"), "-r", whole], check=True)
    return (whole / "etc/ld.so.cache").read_bytes()
