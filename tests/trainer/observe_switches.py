"""What the libraries say of a profile's switches: PROFILE BACKEND [SWITCH TO TAKE OUT]…. Prints one JSON document, and
what MKL and oneDNN print of themselves.

A flag of XLA_FLAGS is a switch of its own, as is each of the backend's in-process ones (`torch: matmul_precision`).
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import PROFILES, Profile

THREADS = 2


def without(profile: Profile, switches: list[str]) -> Profile:
    """The profile with switches taken out."""
    environment = {name: value for name, value in profile.environment.items() if name not in switches}
    if flags := environment.get("XLA_FLAGS"):
        environment["XLA_FLAGS"] = " ".join(flag for flag in flags.split() if flag.split("=")[0] not in switches)
    backends = {
        backend: {name: value for name, value in table.items() if f"{backend}: {name}" not in switches}
        for backend, table in profile.backends.items()
    }
    return replace(profile, environment=environment, backends=backends)


def library(part: str) -> ctypes.CDLL:
    """The library whose name has `part`, which this process has loaded."""
    paths = {line.split(maxsplit=5)[5] for line in Path("/proc/self/maps").read_text().splitlines() if part in line}
    return ctypes.CDLL(sorted(paths)[0])


def of_torch(table: Mapping[str, str]) -> dict[str, Any]:
    # Asked before PyTorch is loaded, which sets OpenMP's number of threads to MKL's.
    package = Path(str(importlib.util.find_spec("torch").origin)).parent  # type: ignore[union-attr]
    openmp = ctypes.CDLL(str(next(package.glob("lib/libgomp*"))))
    openmp_threads = openmp.omp_get_max_threads()
    import torch

    # Set to the contrary first, as a program that imported torch before us might have.
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.backends.cudnn.benchmark = True
    found = {
        "OMP_NUM_THREADS": openmp_threads,
        "MKL_NUM_THREADS": torch.get_num_threads(),
        "OMP_DYNAMIC": openmp.omp_get_dynamic(),
        "ATEN_CPU_CAPABILITY": torch.backends.cpu.get_cpu_capability(),
    }
    one = torch.ones(64, 64)
    with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
        one @ one
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        torch.nn.functional.conv2d(torch.ones(2, 3, 16, 16), torch.ones(8, 3, 3, 3))

    from reprise_trainer.backends import torch_switches

    told = {name: value for name, value in table.items() if name not in ("device", "capability", "mkldnn")}
    torch_switches.prepare(told, THREADS)
    found |= {f"torch: {name}": read() for name, read in torch_switches.READ.items()}
    return found | of_numpy()


def of_numpy() -> dict[str, Any]:
    import numpy as np

    np.ones((2, 2)) @ np.ones((2, 2))
    blas = library("openblas")
    name = blas.scipy_openblas_get_corename64_
    name.restype = ctypes.c_char_p
    return {"OPENBLAS_NUM_THREADS": blas.scipy_openblas_get_num_threads64_(), "OPENBLAS_CORETYPE": name().decode()}


def of_jax(table: Mapping[str, str]) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_default_matmul_precision", "bfloat16")
    found = {
        "JAX_PLATFORMS": jax.config.jax_platforms,
        "JAX_ENABLE_X64": jax.config.jax_enable_x64,
        "JAX_THREEFRY_PARTITIONABLE": jax.random.bits(jax.random.key(1), (4,)).tolist(),
    }
    x = jnp.asarray(np.random.default_rng(1).normal(size=(100, 300)).astype(np.float32))
    # Other kernels than XLA's own show in either product, by the CPU: with AVX-512 where 16 divides its extents too.
    bits = {
        "exp": jnp.exp,
        "log": lambda a: jnp.log(jnp.abs(a) + 0.1),
        "product": lambda a: jnp.concatenate([(a @ a.T).ravel(), (a[:96] @ a[:96].T).ravel()]),
    }
    hashes = {
        name: hashlib.sha256(np.asarray(jax.jit(each)(x)).tobytes()).hexdigest()[:12] for name, each in bits.items()
    }
    pool = [task.joinpath("comm").read_text() for task in Path("/proc/self/task").iterdir()]
    found["NPROC"] = sum("Eigen" in name for name in pool)

    from reprise_trainer.backends import jax_switches, jaxlib_cpu

    # What another CPU would have told jaxlib.
    jaxlib_cpu.tell({"eigen_cache_sizes": "65536 262144 1048576", "ynnpack_kernels": "sse2 avx fma"})
    told = ("matmul_precision", "eigen_cache_sizes", "ynnpack_kernels")
    jax_switches.prepare({name: table[name] for name in told if name in table}, THREADS)
    found["jax: matmul_precision"] = str(jax.config.jax_default_matmul_precision)
    found |= {f"jax: {name}": value for name, value in jaxlib_cpu.told(told).items()}
    return found | {"hashes": hashes}


def main() -> None:
    name, backend, *taken_out = sys.argv[1:]
    profile = without(PROFILES[name], taken_out)
    enter_profile(profile, THREADS)
    observed = {"torch": of_torch, "jax": of_jax}[backend](profile.backends[backend])
    print(json.dumps(observed))


if __name__ == "__main__":
    main()
