"""A GPU run's root in real engines, with files mounted as NVIDIA's container tools mount them: known, hashed, told; and
everything that only looks like them is refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from nvidia_driver import FIRMWARE, LIBRARIES, VERSION, HostDriver, host_driver, linker_cache, write_container_parts

from reprise.engine.interface import ImageRef
from reprise.engine.namespaces import Plan, make_plan
from reprise.engine.unpack import unpack_layers, unpacked_folder

from .test_sabotage import _docker_run, _outside_library, _run, _verify

SHOW = (
    "import ctypes, json; ctypes.CDLL('libcuda.so.1'); driver = identity.driver; "
    "print(json.dumps([driver.version, {file.path: file.sha256 for file in driver.files}, driver.cache]))"
)


@dataclass
class GpuRoot:
    """A plan whose uppermost layer is `layer`, as the container tools leave it; a test may change both."""

    plan: Plan
    layer: Path
    driver: HostDriver

    def run(self) -> tuple[int, str]:
        return _run(None, self.plan)

    def mount(self, source: Path, point: str, *, writable: bool = False) -> None:
        """A further mount, on a point in the layer."""
        place = self.layer / point
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(place):
            place.mkdir() if source.is_dir() else place.touch()
        self.plan = replace(self.plan, mounts=(*self.plan.mounts, (str(source), point, writable)))


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> HostDriver:
    return host_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture(scope="module")
def cache(small_image: Any, driver: HostDriver) -> bytes:
    names = unpack_layers(small_image.store, ImageRef(small_image.store, small_image.digest).layers())
    return linker_cache([unpacked_folder(small_image.store) / name for name in names], driver)


@pytest.fixture
def gpu(bench: Any, driver: HostDriver, cache: bytes) -> Iterator[GpuRoot]:
    _verify(bench, SHOW)
    plan = make_plan(bench.ref, bench.folders)
    layer = unpacked_folder(bench.image.store) / f"nvidia-{os.getpid()}"
    layer.mkdir(mode=0o755)
    write_container_parts(layer, driver)
    (layer / "etc").mkdir(mode=0o755)
    (layer / "etc/ld.so.cache").write_bytes(cache)
    plan = replace(plan, flat="", layers=(*plan.layers, layer.name), mounts=(*plan.mounts, *driver.mounts()))
    yield GpuRoot(plan, layer, driver)
    shutil.rmtree(layer)


def test_the_driver_is_known_by_its_mounts_loaded_hashed_and_told(gpu: GpuRoot) -> None:
    code, output = gpu.run()
    assert code == 0, output
    version, files, cache = json.loads(output.splitlines()[-1])
    assert version == VERSION
    assert files == {
        point: hashlib.sha256(source.read_bytes()).hexdigest() for point, source in gpu.driver.files.items()
    }
    assert cache == hashlib.sha256((gpu.layer / "etc/ld.so.cache").read_bytes()).hexdigest()


def evil(gpu: GpuRoot, folder: Path) -> Path:
    """A library that a real process could load."""
    return _outside_library(folder)


def a_name_like_the_driver_s_elsewhere(gpu: GpuRoot, folder: Path) -> str:
    gpu.mount(evil(gpu, folder), f"opt/libcuda.so.{VERSION}")
    return f"/opt/libcuda.so.{VERSION}: mounted over the image"


def a_library_that_is_not_the_driver_s(gpu: GpuRoot, folder: Path) -> str:
    gpu.mount(evil(gpu, folder), f"{LIBRARIES}/libcudart.so.12")
    return f"/{LIBRARIES}/libcudart.so.12: mounted over the image"


def a_folder_of_libraries(gpu: GpuRoot, folder: Path) -> str:
    (folder / "libs").mkdir()
    gpu.mount(folder / "libs", f"{LIBRARIES}/libnvidia-nvvm.so.4")
    return f"/{LIBRARIES}/libnvidia-nvvm.so.4: NVIDIA's driver has a plain file here"


def a_writable_library(gpu: GpuRoot, folder: Path) -> str:
    gpu.mount(evil(gpu, folder), f"{LIBRARIES}/libnvidia-nvvm.so.4", writable=True)
    return f"/{LIBRARIES}/libnvidia-nvvm.so.4: mounted writable, expected read-only"


def a_second_version(gpu: GpuRoot, folder: Path) -> str:
    gpu.mount(evil(gpu, folder), f"{LIBRARIES}/libcuda.so.535.104.05")
    return "NVIDIA's driver is of several versions: 535.104.05, 570.86.15"


def a_link_out(gpu: GpuRoot, folder: Path) -> str:
    (gpu.layer / LIBRARIES / "libnvidia-cfg.so.1").symlink_to("/data/evil.so")
    return f"/{LIBRARIES}/libnvidia-cfg.so.1: added: no layer lists it"


def a_link_to_another_library(gpu: GpuRoot, folder: Path) -> str:
    (gpu.layer / LIBRARIES / "libnvidia-cfg.so.1").symlink_to(f"libcuda.so.{VERSION}")
    return f"/{LIBRARIES}/libnvidia-cfg.so.1: added: no layer lists it"


def a_link_of_another_name(gpu: GpuRoot, folder: Path) -> str:
    (gpu.layer / LIBRARIES / "libm.so.6.evil").symlink_to(f"libcuda.so.{VERSION}")
    return f"/{LIBRARIES}/libm.so.6.evil: added: no layer lists it"


def a_plain_file_under_a_driver_s_name(gpu: GpuRoot, folder: Path) -> str:
    shutil.copy(evil(gpu, folder), gpu.layer / LIBRARIES / f"libnvidia-cfg.so.{VERSION}")
    return f"/{LIBRARIES}/libnvidia-cfg.so.{VERSION}: added: no layer lists it"


def something_beside_the_firmware(gpu: GpuRoot, folder: Path) -> str:
    (gpu.layer / FIRMWARE).with_name("beside").write_text("")
    return "/usr/lib/firmware: added: no layer lists it"


def a_cache_that_names_another_place(gpu: GpuRoot, folder: Path) -> str:
    cache = gpu.layer / "etc/ld.so.cache"
    place = f"/{LIBRARIES}/libnvidia-ml.so.1".encode()
    outside = b"/output/x/libnvidia-ml.so.1"
    cache.write_bytes(cache.read_bytes().replace(place, outside + bytes(len(place) - len(outside))))
    return "/etc/ld.so.cache: added: no layer lists it"


def a_cache_that_gives_a_library_another_s_name(gpu: GpuRoot, folder: Path) -> str:
    cache = gpu.layer / "etc/ld.so.cache"
    data = bytearray(cache.read_bytes())
    header, size = 48, 24  # glibc's dl-cache.h: of an entry the second number is the name, the third the place
    first, second = (struct.unpack_from("<iIIIQ", data, header + number * size) for number in (0, 1))
    struct.pack_into("<iIIIQ", data, header, first[0], first[1], second[2], *first[3:])
    cache.write_bytes(data)
    return "/etc/ld.so.cache: added: no layer lists it"


def a_cache_that_is_none(gpu: GpuRoot, folder: Path) -> str:
    (gpu.layer / "etc/ld.so.cache").write_bytes(b"glibc-ld.so.cache1.1" + b"\xff" * 100)
    return "/etc/ld.so.cache: added: no layer lists it"


QUICK = (a_name_like_the_driver_s_elsewhere, a_link_out, a_cache_that_gives_a_library_another_s_name)
THOROUGH = (
    *(a_library_that_is_not_the_driver_s, a_folder_of_libraries, a_writable_library, a_second_version),
    *(a_link_to_another_library, a_link_of_another_name, a_plain_file_under_a_driver_s_name),
    *(something_beside_the_firmware, a_cache_that_names_another_place, a_cache_that_is_none),
)


@pytest.mark.parametrize("sabotage", [*QUICK, *(pytest.param(each, marks=pytest.mark.long) for each in THOROUGH)])
def test_what_only_looks_like_the_driver_is_refused_by_name(
    gpu: GpuRoot, tmp_path: Path, sabotage: Callable[[GpuRoot, Path], str]
) -> None:
    before = (gpu.layer / "etc/ld.so.cache").read_bytes()
    said = sabotage(gpu, tmp_path)
    if "cache" in sabotage.__name__:
        assert (gpu.layer / "etc/ld.so.cache").read_bytes() != before
    code, output = gpu.run()
    assert code == 78
    assert said in output


def test_without_its_mounts_what_the_tools_wrote_is_refused(gpu: GpuRoot) -> None:
    names = {point for _, point, _ in gpu.driver.mounts()}
    gpu.plan = replace(gpu.plan, mounts=tuple(mount for mount in gpu.plan.mounts if mount[1] not in names))
    code, output = gpu.run()
    assert code == 78
    assert f"/{LIBRARIES}/libcuda.so.1: added" in output and "/etc/ld.so.cache: added" in output


def test_docker_s_mounts_devices_and_variables_are_known(
    bench: Any, driver: HostDriver, docker_host: str, tmp_path: Path
) -> None:
    _verify(bench, "import json; print(json.dumps([file.path for file in identity.driver.files]))")
    variables = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    devices = [f"/dev/null:/dev/{name}" for name in ("nvidia0", "nvidiactl", "nvidia-uvm")]
    code, output = _docker_run(bench, volumes=driver.volumes(), devices=devices, environment=variables)
    assert code == 0, output
    assert json.loads(output.splitlines()[-1]) == sorted(driver.files)
    (tmp_path / "no-device").write_text("")
    volumes = [*driver.volumes(), f"{tmp_path}/no-device:/dev/nvidia1:ro"]
    code, output = _docker_run(bench, volumes=volumes, environment=variables)
    assert code == 78 and "/dev/nvidia1: NVIDIA's driver has a device here" in output
