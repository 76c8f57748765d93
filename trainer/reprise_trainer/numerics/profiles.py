"""Profiles: the numeric settings that decide the bits, in one table.

A seed is not enough: the same program gives other weights with another number of threads or another instruction set.
A profile names every such switch. Standard library alone.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reprise_trainer.errors import InputError

MARKER = "REPRISE_PROFILE"
"""Set along with the switches, so that a process that has it and lacks a switch refuses instead of starting again."""

DEFAULT = "x86-64-v3"

# CPU flags by /proc/cpuinfo's names; levels as in the x86-64 psABI's table of micro-architecture levels.
_V2 = ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3")
_V3 = (*_V2, "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")


@dataclass(frozen=True, slots=True)
class MachineClass:
    """Machines between which a profile promises equal bits: CPUs of one maker (/proc/cpuinfo's `vendor_id`; empty: of
    any maker) that have all these flags."""

    name: str
    maker: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """One row of the table.

    `environment` holds variables that the libraries read while loading; `{threads}` stands for the number of threads.
    `backends` holds, for each backend, what it sets or finds set in the process. Equal bits are promised within each
    of `machines`, and `promise` says so in words; a profile without any promises nothing. `cpu_flags` are what no CPU
    may lack.
    """

    name: str
    promise: str
    machines: tuple[MachineClass, ...]
    cpu_flags: tuple[str, ...]
    environment: Mapping[str, str]
    backends: Mapping[str, Mapping[str, str]]

    @property
    def reproducible(self) -> bool:
        """Whether it promises anything."""
        return bool(self.machines)

    def switches(self, threads: int) -> dict[str, str]:
        """The environment variables of this profile for a number of threads, with the marker."""
        values = {name: value.format(threads=threads) for name, value in self.environment.items()}
        return {**values, MARKER: self.name}

    def table(self, threads: int) -> dict[str, dict[str, str]]:
        """Everything that the profile sets, for the run record."""
        backends = {name: {**values, "threads": str(threads)} for name, values in self.backends.items()}
        return {"environment": self.switches(threads), **backends}


_THREADS = {
    "OMP_NUM_THREADS": "{threads}",
    "MKL_NUM_THREADS": "{threads}",
    "OPENBLAS_NUM_THREADS": "{threads}",
    "OMP_DYNAMIC": "FALSE",  # else a library may use fewer threads when the machine is busy: other partial sums
    "MKL_DYNAMIC": "FALSE",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",  # never bfloat16 where float32 was asked for
    "NPROC": "{threads}",  # XLA sizes its pool by it, and cuts reductions by the pool
    "JAX_ENABLE_X64": "0",
    "JAX_THREEFRY_PARTITIONABLE": "1",  # the other value is another random stream for the same key
}
_CPU = {**_THREADS, "JAX_PLATFORMS": "cpu"}

_XLA_FLAGS = "--xla_cpu_enable_fast_math=false --xla_cpu_enable_platform_dependent_math=false --xla_cpu_max_isa="
"""Without platform-dependent mathematics: its matrix products go by the CPU that they find, whatever the widest
instruction set may be (measured: an emulated Haswell gave other bits than an EPYC)."""

_TORCH = {
    "deterministic": "true",
    # Filling fresh memory costs time and hides nothing here: every operation that we use writes all of its output.
    "fill_uninitialized_memory": "false",
    "matmul_precision": "highest",
    "flush_denormal": "false",
    "interop_threads": "1",
}
_TORCH_CPU = {**_TORCH, "device": "cpu", "mkldnn": "true"}
_JAX_CPU = {
    "platform": "cpu",
    "x64": "false",
    "matmul_precision": "highest",
    # Told to jaxlib, or it asks the CPU and cuts long sums by the answer (see backends/jaxlib_cpu.py). The caches are
    # those of AMD's first EPYC; the instruction sets are x86-64-v3's, without which it has no product of one order.
    "eigen_cache_sizes": "32768 524288 8388608",
    "ynnpack_kernels": "sse2 ssse3 sse4_1 avx f16c avx2 fma",
}


def _maker(name: str, vendor: str) -> MachineClass:
    return MachineClass(f"{name}, x86-64-v3", vendor, _V3)


_X86_64_V3 = Profile(
    name="x86-64-v3",
    promise="the same bits on CPUs of one maker that have AVX2 and FMA; between makers it is not promised, "
    "since MKL takes its own path on CPUs that are not Intel's",
    machines=(_maker("AMD", "AuthenticAMD"), _maker("Intel", "GenuineIntel")),
    cpu_flags=_V3,
    environment=MappingProxyType(
        {
            **_CPU,
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "MKL_CBWR": "AVX2",  # taken on Intel's CPUs; others ignore every value but COMPATIBLE
            "OPENBLAS_CORETYPE": "Haswell",
            "XLA_FLAGS": f"{_XLA_FLAGS}AVX2",
        }
    ),
    backends=MappingProxyType({"torch": {**_TORCH_CPU, "capability": "AVX2"}, "jax": _JAX_CPU}),
)

_PORTABLE = Profile(
    name="portable",
    promise="made to give the same bits on every x86-64-v2 CPU: the lowest instruction set of each library",
    machines=(MachineClass("any maker, x86-64-v2", "", _V2),),
    cpu_flags=_V2,
    environment=MappingProxyType(
        {
            **_CPU,
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
            "XLA_FLAGS": f"{_XLA_FLAGS}SSE4_2",
        }
    ),
    backends=MappingProxyType({"torch": {**_TORCH_CPU, "capability": "DEFAULT"}, "jax": _JAX_CPU}),
)

_CUDA = Profile(
    name="cuda",
    promise="the same bits from run to run on GPUs of one model, with one driver and one image; nothing between models",
    machines=(MachineClass("NVIDIA GPUs of one model", "", _V2),),
    cpu_flags=_V2,
    environment=MappingProxyType(
        {
            **_THREADS,
            "JAX_PLATFORMS": "cuda",
            "ATEN_CPU_CAPABILITY": "default",  # what is left on the CPU
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "Nehalem",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS's own way to fixed results with streams (its manual, 2.1.4)
            "NVIDIA_TF32_OVERRIDE": "0",  # cuBLAS and cuDNN keep float32 whatever a program asks for
            "NCCL_ALGO": "Ring",  # one order of addition for a topology; NCCL else chooses by size
            "NCCL_PROTO": "Simple",
            "NCCL_NVLS_ENABLE": "0",  # sums in the switch: another order from call to call (NVIDIA/nccl issue 1497)
            "NCCL_COLLNET_ENABLE": "0",
            "XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_exclude_nondeterministic_ops=true "
            "--xla_gpu_autotune_level=0",  # kernels are not chosen by how fast they were this time
        }
    ),
    backends=MappingProxyType(
        {
            "torch": {
                **_TORCH,
                "device": "cuda",
                "cudnn_deterministic": "true",
                "cudnn_benchmark": "false",
                "cudnn_tf32": "false",
                "matmul_tf32": "false",
                "reduced_precision_sums": "false",
                "attention": "math",  # the fused kernels' backward passes add in no fixed order
            },
            "jax": {"platform": "gpu", "x64": "false", "matmul_precision": "highest"},
        }
    ),
)

_FAST = Profile(
    name="fast",
    promise="nothing: not reproducible; only the seeds are fixed",
    machines=(),
    cpu_flags=(),
    environment=MappingProxyType({}),
    backends=MappingProxyType({"torch": {}, "jax": {}}),
)

PROFILES: Mapping[str, Profile] = MappingProxyType({each.name: each for each in (_X86_64_V3, _PORTABLE, _CUDA, _FAST)})


def profile_asked_for(config: bytes, *, where: str) -> tuple[Profile, int]:
    """The profile and the number of threads that a configuration names, read by the standard library alone.

    The trainer needs these two before it has measured what else it would load; the whole file is checked later.

    Raises:
        InputError: not TOML, or no valid profile or number of threads in it.
    """
    try:
        section = tomllib.loads(config.decode()).get("run", {})
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a TOML file: {error}") from error
    name, threads = (
        (section.get("profile", DEFAULT), section.get("threads")) if isinstance(section, dict) else ("", None)
    )
    if not isinstance(name, str) or name not in PROFILES:
        raise InputError(f"{where}: run.profile: there are {', '.join(PROFILES)}, not {name!r}")
    if type(threads) is not int or threads < 1:
        raise InputError(f"{where}: run.threads: expected a number of threads from 1, not {threads!r}")
    return PROFILES[name], threads
