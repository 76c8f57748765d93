"""Driver and CPU against what images and profiles need: an nvidia-smi on PATH, a cpuinfo of another CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprise.doctor.processors import cpu, cuda_need, gpu
from reprise.lock.read import read_lock
from reprise_trainer.numerics.profiles import PROFILES

CHECKOUT = Path(__file__).parents[2]

SMI = """#!/bin/sh
echo '| NVIDIA-SMI 570.86.10              Driver Version: 570.86.10      CUDA Version: {cuda}     |'
"""

PROC = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Tue Jan 14 10:00:00 UTC 2025\n"


@pytest.fixture
def no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH that is one folder, empty; gives the folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, text: str) -> None:
    (folder / "nvidia-smi").write_text(text)
    (folder / "nvidia-smi").chmod(0o755)


@pytest.mark.parametrize(
    ("cuda", "need", "state"),
    [
        ("13.0", (13, 0), "ok"),
        ("13.1", (13, 0), "ok"),
        ("14.0", (13, 0), "ok"),
        ("13.0", (13, 1), "warning"),
        ("12.8", (13, 0), "problem"),
        ("12.8", None, "ok"),
    ],
)
def test_the_drivers_cuda_version_is_compared_with_the_images(
    no_driver: Path, cuda: str, need: tuple[int, int] | None, state: str
) -> None:
    install(no_driver, SMI.format(cuda=cuda))
    finding = gpu(need, no_driver / "none")
    assert finding.state == state and "570.86.10" in finding.what and cuda in finding.what


def test_no_driver_is_a_problem_of_images_that_need_one_alone(no_driver: Path) -> None:
    assert gpu(None, no_driver / "none").state == "ok"
    assert gpu((13, 0), no_driver / "none").state == "problem"


def test_the_kernel_modules_version_is_read_without_the_tool(no_driver: Path) -> None:
    (no_driver / "version").write_text(PROC)
    finding = gpu((13, 0), no_driver / "version")
    assert finding.state == "warning" and "570.86.10" in finding.what and "nvidia-smi" in finding.todo


def test_a_tool_that_fails_is_said_in_its_own_words(no_driver: Path) -> None:
    install(no_driver, "#!/bin/sh\necho 'Driver/library version mismatch' >&2\nexit 18\n")
    assert "Driver/library version mismatch" in gpu((13, 0), no_driver / "none").what


@pytest.mark.parametrize(("name", "need"), [("torch-cuda", (13, 0)), ("torch-cpu", None)])
def test_an_images_need_is_in_its_lock(name: str, need: tuple[int, int] | None) -> None:
    lock = read_lock(CHECKOUT / "locks" / name, CHECKOUT / "containers" / "images" / f"{name}.toml")
    assert cuda_need(lock.artifacts) == need


def test_a_cpu_is_compared_with_each_profile(tmp_path: Path) -> None:
    def states(*flags: str) -> dict[str, str]:
        (tmp_path / "cpuinfo").write_text(f"model name\t: Some CPU\nflags\t\t: {' '.join(flags)}\n")
        return {each.name: each.state for each in cpu(tmp_path / "cpuinfo")}

    v2, v3 = (PROFILES[name].cpu_flags for name in ("portable", "x86-64-v3"))
    assert states(*v3) == {"profile x86-64-v3": "ok", "profile portable": "ok"}
    assert states(*v2) == {"profile x86-64-v3": "warning", "profile portable": "ok"}
    assert set(states("fpu").values()) == {"problem"}
