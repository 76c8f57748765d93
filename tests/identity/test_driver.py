"""NVIDIA's driver in a root: what of it is known, and what is wrong about it. Real mounts: tests/engine."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprise_trainer.identity.driver import DRIVER_MOUNTS, NO_DRIVER, Driver, find_driver
from reprise_trainer.identity.file_list import ListedFile
from reprise_trainer.identity.inventory import Inventory
from reprise_trainer.identity.library_cache import cached_libraries
from reprise_trainer.identity.measure import Measurement
from reprise_trainer.identity.mounts import Mount
from reprise_trainer.identity.process import MappedFile, check_mappings

CUDA = "usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15"


def mount(point: str, fs_type: str = "ext4") -> Mount:
    return Mount(point, f"/{point}", fs_type, read_only=True)


def found(root: Path, *points: str, listed: Collection[str] = ()) -> Driver:
    measured = Measurement(
        "", 0, 0, 0.0, (), {path: ListedFile(path, "file", 0o644) for path in listed}, Inventory((), {})
    )
    return find_driver(root, [mount(point) for point in points], measured)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / CUDA).parent.mkdir(parents=True)
    (tmp_path / CUDA).write_bytes(b"cuda")
    return tmp_path


def test_without_a_mount_there_is_no_driver(root: Path) -> None:
    assert found(root) == NO_DRIVER
    assert found(root, "data", "dev/shm") == NO_DRIVER


def test_a_library_is_hashed_and_gives_the_version(root: Path) -> None:
    driver = found(root, CUDA)
    assert (driver.version, driver.module, driver.problems) == ("570.86.15", "", ())
    (file,) = driver.files
    assert (file.path, file.bytes) == (CUDA, 4) and driver.paths == {CUDA}


def test_a_mount_over_a_path_of_the_image_is_named_whatever_it_is_called(root: Path) -> None:
    (problem,) = found(root, CUDA, listed=[CUDA]).problems
    assert problem == f"/{CUDA}: mounted over a path of the image, under a name of NVIDIA's driver"


def test_a_device_that_is_none_is_named(root: Path) -> None:
    (root / "dev").mkdir()
    (root / "dev/nvidia0").write_text("")
    (problem,) = found(root, "dev/nvidia0").problems
    assert problem == "/dev/nvidia0: NVIDIA's driver has a device here"


@pytest.mark.parametrize(
    ("text", "module", "wrong"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 9\nGCC version: 12\n", "570.86.15", False),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.104.05  Release\n", "535.104.05", True),
        ("something else\n", "", False),
    ],
)
def test_the_kernel_s_part_must_be_of_the_same_version(root: Path, text: str, module: str, wrong: bool) -> None:
    (root / "proc/driver/nvidia").mkdir(parents=True)
    (root / "proc/driver/nvidia/version").write_text(text)
    driver = found(root, CUDA)
    assert driver.module == module
    assert any("several versions" in problem for problem in driver.problems) == wrong


def test_a_file_that_changes_during_the_run_is_named(root: Path) -> None:
    driver = found(root, CUDA)
    assert driver.changed(root) == []
    (root / CUDA).write_bytes(b"CUDA")
    os.utime(root / CUDA, ns=(1, 1))
    assert driver.changed(root) == [f"/{CUDA}: changed during the run"]
    (root / CUDA).unlink()
    assert driver.changed(root) == [f"/{CUDA}: changed during the run"]


@pytest.mark.parametrize(
    "point",
    [
        "usr/lib/x86_64-linux-gnu/libcudart.so.12",
        "usr/lib/x86_64-linux-gnu/libcuda.so.1/x",
        "usr/lib/x86_64-linux-gnu/libcuda.so.evil",
        "usr/lib/python3/libcuda.so.570.86.15",
        "opt/usr/lib/libcuda.so.570.86.15",
        "usr/bin/nvidia-smi-evil",
        "usr/bin/python3",
        "dev/nvidia0/x",
        "dev/nvidiaX",
        "proc/driver/nvidia/gpus/../../../self",
        "usr/lib/firmware/nvidia/570.86.15/../../x.bin",
        "etc/ld.so.cache",
    ],
)
def test_other_places_and_names_are_not_the_driver_s(point: str) -> None:
    assert not any(rule.matches(mount(point)) for rule in DRIVER_MOUNTS)


def test_the_driver_s_devices_may_be_mapped_and_never_as_code() -> None:
    assert check_mappings([MappedFile("/dev/nvidiactl", False), MappedFile("/dev/nvidia-uvm", False)], (), ()) == ()
    assert check_mappings([MappedFile("/dev/nvidia0", True), MappedFile("/dev/nvidia-evil", False)], (), ()) != ()


def test_problems_and_explanations_are_apart(root: Path) -> None:
    driver = replace(found(root, CUDA), explained=frozenset({"a"}))
    from reprise_trainer.identity.measure import ADDED, Difference

    assert driver.unexplained([Difference("a", ADDED), Difference("b", ADDED)]) == [f"/b: {ADDED}"]


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"glibc-ld.so.cache1.1" + rest))
def test_whatever_is_no_cache_is_said_to_be_none(data: bytes) -> None:
    try:
        entries = cached_libraries(data)
    except ValueError:
        return
    assert all(isinstance(part, str) and part for entry in entries for part in entry)


def test_this_machine_s_own_cache_is_read() -> None:
    entries = dict(cached_libraries(Path("/etc/ld.so.cache").read_bytes()))
    assert Path(entries["libc.so.6"]).exists()
