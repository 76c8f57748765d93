"""CPU and GPU against what profiles and images need."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from reprise.doctor.finding import Finding
from reprise.lock.model import Artifact
from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.numerics.profiles import DEFAULT, PROFILES

CPU_PROFILES = {name: each for name, each in PROFILES.items() if each.backends["torch"].get("device") == "cpu"}
"""Profiles that compute on the CPU, and promise something of it."""

_SECONDS = 30
_RUNTIME = re.compile(r"nvidia-cuda-runtime(-cu\d+)?\Z")
_SMI_DRIVER = re.compile(r"Driver Version:\s*([\d.]+)")
_SMI_CUDA = re.compile(r"CUDA Version:\s*(\d+)\.(\d+)")
_PROC_DRIVER = re.compile(r"Kernel Module\D*(\d+\.[\d.]+)")

Version = tuple[int, int]


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[Finding]:
    """One finding for each profile: whether this CPU has the flags that it needs."""
    info = read_cpuinfo(cpuinfo)
    flags = set(info.get("flags", "").split())
    missing = {name: [flag for flag in each.cpu_flags if flag not in flags] for name, each in CPU_PROFILES.items()}
    works = [name for name, lacks in missing.items() if not lacks]
    return [_profile(name, lacks, works, info.get("model name", "of unknown model")) for name, lacks in missing.items()]


def _profile(name: str, missing: list[str], works: list[str], model: str) -> Finding:
    if not missing:
        return Finding(f"profile {name}", "ok", f"this CPU ({model}) has what it needs")
    todo = f'Write profile = "{works[0]}" in the run\'s configuration.' if works else "Use another machine."
    if name == DEFAULT and works:
        todo += " Runs of the default profile have other bits."
    return Finding(f"profile {name}", "warning" if works else "problem", f"this CPU lacks {', '.join(missing)}", todo)


def cuda_need(artifacts: Iterable[Artifact]) -> Version | None:
    """The CUDA version (major, minor) whose runtime a lock holds; None where it holds none."""
    for artifact in artifacts:
        if _RUNTIME.match(artifact.name):
            major, minor = artifact.version.split(".")[:2]
            return int(major), int(minor)
    return None


def gpu(need: Version | None, proc: Path = Path("/proc/driver/nvidia/version")) -> Finding:
    """NVIDIA's driver, and whether it can run what the image holds.

    A driver runs every CUDA program of its own major version and of older ones (NVIDIA's "CUDA Compatibility": minor
    versions are compatible since 11), so a minor version that is newer than the driver's is a warning only.

    Args:
        need: the image's CUDA version; None where it needs none or no image was named.
        proc: what the kernel module says of itself.
    """
    name = "NVIDIA driver"
    driver, offered, failure = _driver(proc)
    if not driver:
        if need is None:
            return Finding(name, "ok", f"none ({failure}), and no image was named that needs one")
        return Finding(name, "problem", f"none ({failure}); the image holds CUDA {_said(need)}", "Install a driver.")
    has = f"{driver}, for CUDA {_said(offered)}" if offered else f"{driver}, {failure or 'CUDA version not said'}"
    if need is None:
        return Finding(name, "ok", has)
    if offered is None:
        return Finding(name, "warning", f"{has}; the image holds CUDA {_said(need)}", "Install nvidia-smi to compare.")
    if offered[0] < need[0]:
        return Finding(name, "problem", f"{has}; the image holds CUDA {_said(need)}", "Install a newer driver.")
    if offered < need:
        todo = "Programs that use what is new in it need a newer driver."
        return Finding(name, "warning", f"{has}; the image holds CUDA {_said(need)}", todo)
    return Finding(name, "ok", f"{has}; the image holds CUDA {_said(need)}")


def _said(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def _driver(proc: Path) -> tuple[str, Version | None, str]:
    """The driver's version, the CUDA version that it offers, and why one of them is not known."""
    module = _PROC_DRIVER.search(proc.read_text()) if proc.is_file() else None
    known = module[1] if module else ""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return known, None, "there is no nvidia-smi"
    try:
        done = subprocess.run([tool], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return known, None, f"nvidia-smi fails: {error}"
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return known, None, f"nvidia-smi fails: {lines[-1] if lines else f'exit code {done.returncode}'}"
    driver, cuda = _SMI_DRIVER.search(done.stdout), _SMI_CUDA.search(done.stdout)
    return (driver[1] if driver else known), ((int(cuda[1]), int(cuda[2])) if cuda else None), ""
