"""The profile `portable` on CPUs that this machine does not have, emulated by qemu: the bits are the same.

Emulation proves that the libraries take the same path there and compute the same values on it. It does not prove what a
maker's approximate instructions give, which is why `portable` avoids the operations that rest on them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from servers import program
from tests.trainer.conftest import CONFIG, RunOnce, environment

from reprise_trainer.numerics.profiles import PROFILES

# Two makers, three generations: without AVX, with AVX2 by Intel, with AVX2 by AMD.
CPUS = ("Nehalem", "Haswell", "EPYC")
SHORT = CONFIG.replace("seed = 7", 'profile = "portable"\nseed = 7').replace("epochs = 3", "steps = 4")


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cpu", CPUS)
def test_portable_gives_the_same_bits_on_an_emulated_cpu(run_once: RunOnce, cpu: str) -> None:
    # The switches are given from outside: a process that starts itself again would leave the emulator.
    switches = PROFILES["portable"].switches(1)
    emulator = (program("qemu-x86_64", "qemu-user"), "-cpu", cpu)
    emulated = run_once(SHORT, changes=switches, prefix=emulator, timeout=1000)
    assert emulated.code == 0, emulated.error
    assert emulated.bits == run_once(SHORT).bits


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cpu", ["Haswell", "EPYC"])  # jaxlib is compiled for AVX, which Nehalem lacks
def test_portable_gives_the_same_bits_in_jax_on_an_emulated_cpu(run_once: RunOnce, cpu: str) -> None:
    config = SHORT.replace("steps = 4", 'backend = "jax"\nsteps = 2')
    switches = PROFILES["portable"].switches(1)
    emulated = run_once(
        config, changes=switches, prefix=(program("qemu-x86_64", "qemu-user"), "-cpu", cpu), timeout=1000
    )
    assert emulated.code == 0, emulated.error
    assert emulated.bits == run_once(config).bits


def trained_gpt(backend: str, *prefix: str) -> str:
    argv = [*prefix, sys.executable, str(Path(__file__).with_name("train_gpt_once.py")), backend]
    switches = PROFILES["portable"].switches(1)
    return subprocess.run(
        argv, env=environment(switches), check=True, capture_output=True, text=True, timeout=1000
    ).stdout.splitlines()[-1]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("backend", "cpu"), [*(("torch", cpu) for cpu in CPUS), ("jax", "Haswell"), ("jax", "EPYC")])
def test_portable_gives_the_character_model_the_same_bits_on_an_emulated_cpu(backend: str, cpu: str) -> None:
    emulated = trained_gpt(backend, program("qemu-x86_64", "qemu-user"), "-cpu", cpu)
    assert emulated.startswith("sha256:") and emulated == trained_gpt(backend)
