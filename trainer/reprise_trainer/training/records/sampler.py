"""What a run uses while it runs, sampled by a thread beside it: memory, CPU, GPUs, energy. Never compared.

Read from the kernel: /proc/self (proc(5)), the energy counters of /sys/class/powercap (Linux's powercap documentation:
`energy_uj` in microjoules, which wraps at `max_energy_range_uj`), and NVIDIA's own `nvidia-smi` where a driver is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprise_trainer.errors import RepriseError

POWERCAP = Path("/sys/class/powercap")
INTERVAL, GPU_INTERVAL = 1.0, 5.0
"""Seconds between two samples, without and with a GPU: one costs about 0.1 ms, and then a start of nvidia-smi."""
HEALTH_EVERY = 30.0
"""Seconds between two health events."""
_NVIDIA_QUERY = ("memory.used", "utilization.gpu", "power.draw")
_NVIDIA_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU now: bytes of memory used, share of time busy (0 to 1), watts; 0 where the driver doesn't say."""

    memory: int
    busy: float
    watts: float


@dataclass(slots=True)
class Usage:
    """Largest and summed values over the samples so far; joules are None where the machine doesn't count them."""

    samples: int = 0
    peak_memory: int = 0
    peak_gpu_memory: int = 0
    gpu_joules: float = 0.0
    cpu_joules: float | None = None
    gpus: tuple[GpuSample, ...] = field(default=())

    def facts(self) -> dict[str, int]:
        """The values for a record: whole bytes and millijoules; what the machine doesn't count is left out."""
        found = {"samples": self.samples, "peak_resident_bytes": self.peak_memory}
        if self.peak_gpu_memory:
            found |= {"peak_gpu_bytes": self.peak_gpu_memory, "gpu_millijoules": round(self.gpu_joules * 1000)}
        if self.cpu_joules is not None:
            found["cpu_millijoules"] = round(self.cpu_joules * 1000)
        return found


@contextmanager
def sampled(
    on_health: Callable[[Mapping[str, Any]], None],
    *,
    interval: float | None = None,
    health_every: float = HEALTH_EVERY,
    powercap: Path = POWERCAP,
) -> Iterator[Usage]:
    """Sample this process until the block ends.

    Args:
        on_health: called from the sampling thread, now and then, with `memory_bytes`, `cpu_share` (of one core) and
            GPU figures.
        interval: seconds between two samples; by default as the machine has a GPU or none.
        health_every: seconds between two calls of `on_health` at least.
        powercap: where the kernel's energy counters are.
    """
    usage, done = Usage(), threading.Event()
    pause = interval or (GPU_INTERVAL if read_gpus() else INTERVAL)
    arguments = (usage, done, on_health, pause, health_every, powercap)
    thread = threading.Thread(target=_sample, args=arguments, daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        done.set()
        thread.join()


def _sample(
    usage: Usage,
    done: threading.Event,
    on_health: Callable[[Mapping[str, Any]], None],
    interval: float,
    health_every: float,
    powercap: Path,
) -> None:
    energy = energy_counters(powercap)
    last_time = told_time = time.monotonic()
    told_cpu = time.process_time()
    while True:
        ended = done.wait(interval)
        now = time.monotonic()
        memory, usage.gpus = resident_memory(), read_gpus()
        usage.samples += 1
        usage.peak_memory = max(usage.peak_memory, memory)
        usage.peak_gpu_memory = max(usage.peak_gpu_memory, sum(each.memory for each in usage.gpus))
        usage.gpu_joules += sum(each.watts for each in usage.gpus) * (now - last_time)
        if energy:
            counted = energy_counters(powercap)
            usage.cpu_joules = (usage.cpu_joules or 0.0) + joules_between(energy, counted, powercap)
            energy = counted
        last_time = now
        if ended:
            return
        if now - told_time >= health_every:
            cpu = time.process_time()
            with suppress(RepriseError):  # nobody reads events any more: the run itself will find out, and say so
                on_health(_health(usage, memory, (cpu - told_cpu) / (now - told_time)))
            told_time, told_cpu = now, cpu


def _health(usage: Usage, memory: int, cpu_share: float) -> dict[str, Any]:
    found: dict[str, Any] = {"memory_bytes": memory, "cpu_share": round(cpu_share, 3)}
    for number, gpu in enumerate(usage.gpus):
        found |= {f"gpu{number}_bytes": gpu.memory, f"gpu{number}_busy": gpu.busy, f"gpu{number}_watts": gpu.watts}
    return found


def resident_memory(statm: Path = Path("/proc/self/statm")) -> int:
    """Resident set of this process now, bytes (second field of statm, pages; proc(5))."""
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def energy_counters(powercap: Path = POWERCAP) -> dict[str, int]:
    """Zone → microjoules so far, of the packages that the kernel counts and lets this user read; else empty."""
    found: dict[str, int] = {}
    for zone in sorted(powercap.glob("*:*")):
        if zone.name.count(":") != 1:  # a part of a package (core, uncore), which the package counts already
            continue
        try:
            found[zone.name] = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):
            continue
    return found


def joules_between(before: Mapping[str, int], after: Mapping[str, int], powercap: Path = POWERCAP) -> float:
    """Joules between two readings of the counters, each of which may have wrapped once."""
    total = 0
    for zone, value in after.items():
        used = value - before.get(zone, value)
        if used < 0:
            used += int((powercap / zone / "max_energy_range_uj").read_text())
        total += used
    return total / 1e6


def read_gpus(program: str = "nvidia-smi") -> tuple[GpuSample, ...]:
    """Each NVIDIA GPU now; empty where there is no driver, or it doesn't answer in time."""
    found = shutil.which(program)
    if found is None:
        return ()
    query = [found, f"--query-gpu={','.join(_NVIDIA_QUERY)}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, check=True, capture_output=True, text=True, timeout=_NVIDIA_TIMEOUT)
        return tuple(_gpu(line) for line in answer.stdout.splitlines() if line.strip())
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()


def _gpu(line: str) -> GpuSample:
    memory, busy, watts = (_figure(part) for part in line.split(","))
    return GpuSample(int(memory * 2**20), busy / 100, watts)


def _figure(part: str) -> float:
    """A figure of nvidia-smi; `[N/A]` and the like count 0."""
    text = part.strip()
    return 0.0 if text.startswith("[") else float(text)
