"""What a run uses: read from the kernel's files and from nvidia-smi, as they write it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from reprise_trainer.training.records.sampler import (
    GpuSample,
    energy_counters,
    joules_between,
    read_gpus,
    resident_memory,
    sampled,
)


def test_memory_and_samples_are_those_of_this_process(tmp_path: Path) -> None:
    with sampled(lambda health: None, interval=0.01, powercap=tmp_path) as usage:
        block = bytearray(64 << 20)
        block[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(block[:: os.sysconf("SC_PAGE_SIZE")])
        time.sleep(0.2)
        held = resident_memory()
    assert usage.samples >= 3
    assert usage.peak_memory >= held - (8 << 20) > 64 << 20
    assert usage.facts().keys() == {"samples", "peak_resident_bytes"}


def test_a_short_run_is_sampled_once_at_least(tmp_path: Path) -> None:
    with sampled(lambda health: None, interval=60, powercap=tmp_path) as usage:
        pass
    assert usage.samples == 1 and usage.peak_memory > 0


def test_health_is_told_now_and_then(tmp_path: Path) -> None:
    said: list[Any] = []
    with sampled(said.append, interval=0.01, health_every=0.05, powercap=tmp_path):
        until = time.monotonic() + 5
        while not said and time.monotonic() < until:
            sum(range(10_000))
    assert said[0]["memory_bytes"] > 0 and said[0]["cpu_share"] > 0


def zone(powercap: Path, name: str, energy: int, limit: int = 1000) -> None:
    (powercap / name).mkdir(exist_ok=True)
    (powercap / name / "energy_uj").write_text(f"{energy}\n")
    (powercap / name / "max_energy_range_uj").write_text(f"{limit}\n")


def test_packages_are_counted_once_and_counters_may_wrap(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 900)
    zone(tmp_path, "intel-rapl:0:0", 300)
    zone(tmp_path, "intel-rapl:1", 100)
    before = energy_counters(tmp_path)
    assert before == {"intel-rapl:0": 900, "intel-rapl:1": 100}
    zone(tmp_path, "intel-rapl:0", 50)
    zone(tmp_path, "intel-rapl:1", 350)
    assert joules_between(before, energy_counters(tmp_path), tmp_path) == (150 + 250) / 1e6


def test_energy_is_summed_over_the_run(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 0, limit=10**9)
    with sampled(lambda health: None, interval=0.02, powercap=tmp_path) as usage:
        time.sleep(0.1)
        zone(tmp_path, "intel-rapl:0", 2_500_000, limit=10**9)
    assert usage.facts()["cpu_millijoules"] == 2500


def nvidia_smi(folder: Path, answer: str, code: int = 0) -> str:
    """A stand-in that answers as nvidia-smi does (a line a GPU, commas between) and checks what it is asked."""
    path = folder / "nvidia-smi"
    expected = "--query-gpu=memory.used,utilization.gpu,power.draw --format=csv,noheader,nounits"
    path.write_text(f'#!/bin/sh\n[ "$*" = "{expected}" ] || exit 9\ncat <<END\n{answer}\nEND\nexit {code}\n')
    path.chmod(0o755)
    return str(path)


def test_gpus_are_read_as_the_driver_writes_them(tmp_path: Path) -> None:
    program = nvidia_smi(tmp_path, "1024, 50, 250.25\n0, 0, [N/A]")
    assert read_gpus(program) == (GpuSample(1 << 30, 0.5, 250.25), GpuSample(0, 0.0, 0.0))


@pytest.mark.parametrize(("answer", "code"), [("no devices were found", 6), ("garbage", 0)])
def test_a_driver_that_does_not_answer_means_no_gpu(tmp_path: Path, answer: str, code: int) -> None:
    assert read_gpus(nvidia_smi(tmp_path, answer, code)) == ()
    assert read_gpus(str(tmp_path / "absent")) == ()
