"""What jaxlib takes the CPU for: the profile's word, whatever the CPU says.

Another CPU is played by telling jaxlib of it before the profile does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import pytest
from tests.trainer.conftest import environment

from reprise_trainer.backends import jax_switches, jaxlib_cpu
from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.errors import SystemFailureError
from reprise_trainer.numerics.profiles import PROFILES

SCRIPT = Path(__file__).with_name("on_another_cpu.py")
V3 = "sse2 ssse3 sse4_1 avx f16c avx2 fma"
ZEN_4, ZEN_5, SMALL = "32768 1048576 33554432", "49152 1048576 33554432", "16384 262144 2097152"
"""Bytes of the first, second and third level of a CPU's cache."""


@cache
def computed(sizes: str, kernels: str, *keep: str) -> dict[str, str]:
    process = subprocess.run(
        [sys.executable, str(SCRIPT), sizes, kernels, *keep],
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    hashes: dict[str, str] = json.loads(process.stdout)
    return hashes


@pytest.mark.parametrize("sizes", [ZEN_4, ZEN_5, SMALL])
def test_the_caches_of_a_cpu_change_nothing(sizes: str) -> None:
    assert computed(sizes, "sse2 avx fma") == computed(ZEN_4, V3)


def test_without_the_profiles_word_they_decide_the_bits_of_long_sums() -> None:
    gradients = [computed(sizes, V3, "keep")["kernels' gradient"] for sizes in (ZEN_4, ZEN_5, SMALL)]
    assert len(set(gradients)) == 3
    assert gradients[0] == computed(ZEN_5, V3)["kernels' gradient"]  # the profile's caches have a Zen 4's first level


def test_a_build_without_the_variables_is_named_and_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    libc = next(Path("/lib/x86_64-linux-gnu").glob("libc.so.6"))
    asked = {jaxlib_cpu.CACHE_SIZES: ZEN_4, jaxlib_cpu.KERNELS: "sse2", "x64": "false"}
    assert jaxlib_cpu.tell(asked, library=libc) == (jaxlib_cpu.CACHE_SIZES, jaxlib_cpu.KERNELS)
    assert jaxlib_cpu.told(asked, library=libc) == {}
    assert jaxlib_cpu.tell(asked, library=Path("/no/such/library")) == (jaxlib_cpu.CACHE_SIZES, jaxlib_cpu.KERNELS)
    monkeypatch.setattr(jax_switches, "tell", lambda switches: jaxlib_cpu.tell(switches, library=libc))
    monkeypatch.setenv("NPROC", "1")
    doubts = jax_switches.prepare({"eigen_cache_sizes": ZEN_4, "platform": jax.default_backend()}, 1)
    assert doubts == ("this build of jaxlib has no eigen_cache_sizes that the profile could set",)


def test_kernels_that_the_cpu_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = read_cpuinfo()["flags"].replace(" avx2", "").replace(" fma", "")
    monkeypatch.setattr(jaxlib_cpu, "read_cpuinfo", lambda: {"flags": flags})
    with pytest.raises(SystemFailureError, match=r"this CPU lacks avx2, fma, which JAX's matrix products need") as why:
        jaxlib_cpu.tell(PROFILES["portable"].backends["jax"])
    assert 'backend = "torch"' in why.value.hint


def test_what_was_told_is_read_back() -> None:
    before = jaxlib_cpu.told((jaxlib_cpu.CACHE_SIZES, jaxlib_cpu.KERNELS))
    said = {jaxlib_cpu.CACHE_SIZES: SMALL, jaxlib_cpu.KERNELS: "sse2 fma 0x2f80"}
    try:
        assert jaxlib_cpu.tell(said) == ()
        assert jaxlib_cpu.told(said) == said
        assert jaxlib_cpu.told((jaxlib_cpu.KERNELS,)) == {jaxlib_cpu.KERNELS: "sse2 fma 0x2f80"}
    finally:
        jaxlib_cpu.tell({**PROFILES["portable"].backends["jax"], **before})
