"""Taking any one switch out of the profile table makes a test here fail.

A switch counts as caught when a library, asked in a process of its own, reports another setting or other bits without
it, while the environment around is set to the contrary. With the whole table the same environment changes nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.trainer.conftest import environment

from reprise_trainer.numerics.profiles import PROFILES, Profile

OBSERVER = Path(__file__).with_name("observe_switches.py")
PAGE = Path(__file__).parents[2] / "docs" / "numerics.md"
THREADS = 2
Observed = dict[str, Any]

CONTRARY: Mapping[str, Mapping[str, str]] = {
    "any": {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NPROC": "4",
        "OMP_DYNAMIC": "TRUE",
        "MKL_DYNAMIC": "TRUE",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "JAX_PLATFORMS": "",
        "JAX_ENABLE_X64": "1",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "--xla_cpu_enable_fast_math": "true",
        "--xla_cpu_enable_platform_dependent_math": "true",
    },
    "x86-64-v3": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
        "--xla_cpu_max_isa": "SSE4_2",
    },
    "portable": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "AUTO",
        "OPENBLAS_CORETYPE": "Haswell",
        "--xla_cpu_max_isa": "AVX2",
    },
}
"""Profile → switch → a value that the profile does not want."""

NOT_CAUGHT: Mapping[str, str] = {
    "CUBLAS_WORKSPACE_CONFIG": "needs a GPU",
    "NVIDIA_TF32_OVERRIDE": "needs a GPU",
    "NCCL_ALGO": "needs several GPUs",
    "NCCL_PROTO": "needs several GPUs",
    "NCCL_NVLS_ENABLE": "needs several GPUs",
    "NCCL_COLLNET_ENABLE": "needs several GPUs",
    "--xla_gpu_deterministic_ops": "needs a GPU",
    "--xla_gpu_exclude_nondeterministic_ops": "needs a GPU",
    "--xla_gpu_autotune_level": "needs a GPU",
}
"""Switch → why no test on this machine can tell that it is missing. docs/numerics.md has the same list."""

FOUND_NOT_SET = ("torch: device", "torch: capability", "torch: mkldnn", "jax: platform", "jax: x64")
"""What a backend finds set and refuses otherwise; `test_backends.py` has each refused."""


def switches(profile: Profile) -> set[str]:
    """Every switch of the table; a flag of XLA_FLAGS is one of its own."""
    flags = {flag.split("=")[0] for flag in profile.environment.get("XLA_FLAGS", "").split()}
    in_process = {f"{backend}: {name}" for backend, table in profile.backends.items() for name in table}
    return (profile.environment.keys() - {"XLA_FLAGS"}) | flags | in_process


@cache
def observe(
    profile: str, backend: str, taken_out: tuple[str, ...] = (), contrary: bool = False, flag: str = ""
) -> Observed:
    """What libraries report under `profile` without some switches, in an environment set to the contrary or not."""
    around = {**CONTRARY["any"], **CONTRARY.get(profile, {})} if contrary else {}
    changes = {name: value for name, value in around.items() if not name.startswith("--")}
    argv = [sys.executable, str(OBSERVER), profile, backend, *taken_out]
    process = subprocess.run(
        argv,
        env=environment({**changes, **({"XLA_FLAGS": flag} if flag else {})}),
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    said: Observed = json.loads(process.stdout.splitlines()[-1])
    if backend == "torch":
        said |= {name: sorted(set(re.findall(each, process.stdout))) for name, each in SAID_BY_LIBRARIES.items()}
    return said


SAID_BY_LIBRARIES = {
    "MKL_CBWR": r"CNR:(\S+)",
    "MKL_DYNAMIC": r"Dyn:(\d)",
    "ONEDNN_MAX_CPU_ISA": r"onednn_verbose,v1,info,cpu,isa:(.*)",
    "ONEDNN_DEFAULT_FPMATH_MODE": r"attr-fpmath:(\w+)",
}

PROFILES_HERE = [
    pytest.param("portable", id="portable"),
    pytest.param("x86-64-v3", id="x86-64-v3", marks=pytest.mark.long),
]


def caught_by(profile: str, backend: str) -> list[str]:
    """The switches of the profile that this backend's observer reports by their names."""
    reported = observe(profile, backend).keys()
    return sorted((switches(PROFILES[profile]) & reported) - set(FOUND_NOT_SET))


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("profile", PROFILES_HERE)
def test_an_environment_set_to_the_contrary_changes_nothing(profile: str, backend: str) -> None:
    assert observe(profile, backend, contrary=True) == observe(profile, backend)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("profile", PROFILES_HERE)
def test_each_switch_taken_out_shows(profile: str, backend: str) -> None:
    names = caught_by(profile, backend)
    assert len(names) >= 4
    whole, less = observe(profile, backend), observe(profile, backend, tuple(names), contrary=True)
    assert [name for name in names if less[name] == whole[name]] == []


@pytest.mark.parametrize(
    ("flag", "bits"),
    [
        ("--xla_cpu_enable_fast_math", "log"),
        ("--xla_cpu_enable_platform_dependent_math", "product"),
        ("--xla_cpu_max_isa", "exp"),
    ],
)
@pytest.mark.parametrize("profile", PROFILES_HERE)
def test_each_flag_of_xla_taken_out_shows_in_the_bits(profile: str, flag: str, bits: str) -> None:
    value = {**CONTRARY["any"], **CONTRARY[profile]}[flag]
    less = observe(profile, "jax", (flag,), flag=f"{flag}={value}")
    assert less["hashes"][bits] != observe(profile, "jax")["hashes"][bits]


@pytest.mark.long
def test_each_setting_for_gpus_taken_out_of_pytorch_shows() -> None:
    names = [name for name in caught_by("cuda", "torch") if name.startswith("torch: ")]
    assert {"torch: cudnn_deterministic", "torch: attention", "torch: matmul_tf32"} <= set(names)
    whole, less = observe("cuda", "torch"), observe("cuda", "torch", tuple(names), contrary=True)
    assert [name for name in names if less[name] == whole[name]] == []


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_switch_of_the_table_is_caught_or_listed(profile: Profile) -> None:
    table = switches(profile)
    on_cpus = CONTRARY["any"].keys() | CONTRARY["portable"].keys()
    in_process = {f"torch: {name}" for name in IN_PROCESS} | {f"jax: {name}" for name in IN_PROCESS_OF_JAX}
    known = on_cpus | in_process | set(FOUND_NOT_SET) | NOT_CAUGHT.keys()
    assert table <= known, f"a switch without a probe: {sorted(table - known)}"
    if profile.name in ("x86-64-v3", "portable"):
        missing = on_cpus | {f"torch: {name}" for name in ON_CPUS} | set(FOUND_NOT_SET)
        assert missing | {f"jax: {name}" for name in IN_PROCESS_OF_JAX} == table
    if profile.name == "cuda":
        assert {f"torch: {name}" for name in IN_PROCESS} | (NOT_CAUGHT.keys()) <= table


ON_CPUS = ("deterministic", "fill_uninitialized_memory", "matmul_precision", "flush_denormal", "interop_threads")
IN_PROCESS = (
    *ON_CPUS,
    *("attention", "cudnn_benchmark", "cudnn_deterministic", "cudnn_tf32", "matmul_tf32", "reduced_precision_sums"),
)
"""In-process switches of PyTorch: those of every profile, and those for GPUs."""

IN_PROCESS_OF_JAX = ("matmul_precision", "eigen_cache_sizes", "ynnpack_kernels")


def test_the_page_lists_what_no_test_catches() -> None:
    section = PAGE.read_text().partition("## Switches that no test catches")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)) == NOT_CAUGHT.keys()
