"""What a configuration's choices cost on this machine, said before step 0; what is dear needs to be allowed."""

from __future__ import annotations

from pathlib import Path

from reprise_trainer.config.model import OwnSection
from reprise_trainer.config.read import RunConfig
from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.errors import InputError, RefusedError

BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")
"""Names in /proc/cpuinfo of the instructions that multiply bfloat16 numbers."""

PORTABLE = 'profile "portable" takes about 3.5 times as long as "x86-64-v3"'
"""Measured in PyTorch on an AMD EPYC: 278 to 316 ms a step of a small GPT against 85."""
SLOW_BFLOAT16 = "without such instructions bfloat16 products take about 15 times as long as float32's"


def prices(config: RunConfig, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """What is slower than it could be, a sentence each.

    Raises:
        RefusedError: bfloat16 was asked for on a CPU that has no instructions for it, and wasn't allowed.
        InputError: bfloat16 was asked for a user's own model, whose products are its own affair.
    """
    found = [PORTABLE] if config.run.profile == "portable" else []
    if config.train.precision == "float32":
        return found
    if isinstance(config.model, OwnSection):
        raise InputError(
            "train.precision: bfloat16 is for built-in models; your own model decides by itself what its products take"
        )
    flags = read_cpuinfo(cpuinfo).get("flags", "").split()
    if any(flag in flags for flag in BFLOAT16_FLAGS):
        return found
    if not config.train.allow_slow:
        raise RefusedError(
            f"train.precision: this CPU has none of {', '.join(BFLOAT16_FLAGS)}; {SLOW_BFLOAT16}",
            hint='Set precision = "float32", or allow_slow = true.',
        )
    return [*found, SLOW_BFLOAT16]
