"""What jaxlib takes this CPU for where XLA has no flag that says it: told before it asks the CPU.

Two libraries inside jaxlib look at the CPU by themselves, and what they see decides bits (measured, jax 0.10.2):

- Eigen cuts long sums into blocks that fit the first level of the cache. With one thread, convolutions and matrix
  products have other bits on a CPU with 48 KiB of it (AMD's Zen 5, Intel's since Ice Lake) than on one with 32 KiB.
- YNNPACK keeps the order of a sum whatever kernel it takes (XLA's `xla_cpu_enable_platform_dependent_math` asks for
  that), but the kernel's shape decides where it cuts a long sum: a CPU with AVX-512 gives other bits than one without.

Both ask once and keep the answer in a variable. Eigen's `setCpuCacheSizes` sets it, and newer YNNPACKs read
YNN_DISABLE_ARCH, but jaxlib has neither within reach. So the variables are written here, by the library's own symbol
table. A build without that table, or with other variables, is left as it is, and its runs are unproven.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import jaxlib

from reprise_trainer.backends.elf_symbols import find_symbols
from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.errors import SystemFailureError

CACHE_SIZES = "eigen_cache_sizes"
"""Switch: bytes of the first, second and third level, as `32768 524288 8388608`."""
KERNELS = "ynnpack_kernels"
"""Switch: the instruction sets whose kernels may be taken, by /proc/cpuinfo's names, as `sse2 avx2 fma`."""

LIBRARY = Path(str(jaxlib.__file__)).parent / "libjax_common.so"

_KERNEL_BITS = {"sse2": 1, "ssse3": 2, "sse4_1": 4, "avx": 8, "f16c": 16, "avx2": 32, "fma": 64}
"""YNNPACK's numbers for them (ynnpack/base/arch.h); those of AVX-512 and AMX are said as one, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class _Variable:
    """A function's static variable: the names of its symbol and of the one that says that it has its value (Itanium C++
    ABI, 3.3.3: not 0 in its first byte), and its form."""

    name: str
    guard: str
    form: struct.Struct


_VARIABLES: Mapping[str, _Variable] = MappingProxyType(
    {
        CACHE_SIZES: _Variable(
            "_ZZN5Eigen8internal20manage_caching_sizesENS_6ActionEPlS2_S2_E12m_cacheSizes",
            "_ZGVZN5Eigen8internal20manage_caching_sizesENS_6ActionEPlS2_S2_E12m_cacheSizes",
            struct.Struct("<3q"),
        ),
        KERNELS: _Variable(
            "_ZZN3ynn24get_supported_arch_flagsEvE5flags",
            "_ZGVZN3ynn24get_supported_arch_flagsEvE5flags",
            struct.Struct("<Q"),
        ),
    }
)


def tell(switches: Mapping[str, str], *, library: Path = LIBRARY) -> tuple[str, ...]:
    """Write what the switches say into the library, which this process has loaded.

    Args:
        switches: of the profile; others than the two above are passed over.
        library: jaxlib's.

    Returns:
        The switches that this build has no variable for.

    Raises:
        SystemFailureError: the CPU lacks an instruction set of the kernels; computing with them would kill the process.
    """
    asked = {name: switches[name] for name in _VARIABLES if name in switches}
    if asked.get(KERNELS):
        _require_instructions(asked[KERNELS].split())
    unknown = []
    for name, said in asked.items():
        if name in _places(library):
            (value, guard), form = _places(library)[name], _VARIABLES[name].form
            ctypes.memmove(value, form.pack(*_numbers(name, said)), form.size)
            ctypes.memmove(guard, b"\x01", 1)
        else:
            unknown.append(name)
    return tuple(unknown)


def told(names: Iterable[str], *, library: Path = LIBRARY) -> dict[str, str]:
    """What the library goes by now, as switches of these names say it; what it has not asked for yet, or has no
    variable for, is left out."""
    found = {}
    for name in _VARIABLES.keys() & set(names):
        if name not in _places(library):
            continue
        (value, guard), form = _places(library)[name], _VARIABLES[name].form
        if ctypes.string_at(guard, 1) != b"\0":
            found[name] = _words(name, form.unpack(ctypes.string_at(value, form.size)))
    return found


def _require_instructions(kernels: list[str]) -> None:
    flags = read_cpuinfo().get("flags", "").split()
    if missing := [each for each in kernels if each in _KERNEL_BITS and each not in flags]:
        raise SystemFailureError(
            f"this CPU lacks {', '.join(missing)}, which JAX's matrix products need under this profile",
            hint='Use a machine that has them, or train.backend = "torch" with profile = "portable".',
        )


def _numbers(name: str, value: str) -> tuple[int, ...]:
    if name == KERNELS:
        return (sum(_KERNEL_BITS.get(each) or int(each, 16) for each in value.split()),)
    return tuple(int(each) for each in value.split())


def _words(name: str, numbers: tuple[int, ...]) -> str:
    if name == KERNELS:
        further = numbers[0] & ~sum(_KERNEL_BITS.values())
        names = [each for each, bit in _KERNEL_BITS.items() if numbers[0] & bit]
        return " ".join([*names, f"{further:#x}"] if further else names)
    return " ".join(str(each) for each in numbers)


@cache
def _places(library: Path) -> dict[str, tuple[int, int]]:
    """Switch → where its variable and the guard lie in this process; those without a symbol are left out."""
    try:
        symbols = find_symbols(library, tuple(each for one in _VARIABLES.values() for each in (one.name, one.guard)))
        loaded = ctypes.c_size_t.from_address(ctypes.CDLL(str(library))._handle).value  # link_map's l_addr, <link.h>
    except OSError:
        return {}
    return {
        name: (loaded + symbols[one.name].address, loaded + symbols[one.guard].address)
        for name, one in _VARIABLES.items()
        if one.guard in symbols and one.name in symbols and symbols[one.name].size == one.form.size
    }
