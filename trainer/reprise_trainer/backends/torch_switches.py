"""The profile's in-process switches in PyTorch: set each, then ask PyTorch what it is set to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from reprise_trainer.errors import SystemFailureError


def prepare(switches: Mapping[str, str], threads: int) -> None:
    """Set the switches and the number of threads, and check that PyTorch follows.

    Raises:
        SystemFailureError: PyTorch reports something else than the profile asks for.
    """
    for name, expected in {**switches, "threads": str(threads)}.items():
        if name in _SET:
            _SET[name](expected)
        found = _READ[name]() if name in _READ else None
        if found != expected:
            raise SystemFailureError(
                f"torch reports {name} {found!r}, the profile asks for {expected!r}",
                hint="The CPU or this build of torch cannot keep the profile; nothing was trained.",
            )


def _set_interop_threads(value: str) -> None:
    if torch.get_num_interop_threads() != int(value):  # it can be set once in a process
        torch.set_num_interop_threads(int(value))


def _set_fill(value: str) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = value == "true"


def _flushes_denormals() -> str:
    return _said(bool((torch.full((1,), 1e-39) * 1.0 == 0.0).item()))  # PyTorch sets this and cannot be asked


def _said(value: bool) -> str:
    return str(value).lower()


_SET: Mapping[str, Callable[[str], None]] = {
    "threads": lambda value: torch.set_num_threads(int(value)),
    "interop_threads": _set_interop_threads,
    "deterministic": lambda value: torch.use_deterministic_algorithms(value == "true"),
    "fill_uninitialized_memory": _set_fill,
    "matmul_precision": torch.set_float32_matmul_precision,
    "flush_denormal": lambda value: torch.set_flush_denormal(value == "true"),
}

_READ: Mapping[str, Callable[[], str]] = {
    "device": lambda: "cpu",
    "threads": lambda: str(torch.get_num_threads()),
    "interop_threads": lambda: str(torch.get_num_interop_threads()),
    "capability": torch.backends.cpu.get_cpu_capability,
    "mkldnn": lambda: _said(torch.backends.mkldnn.is_available()),
    "deterministic": lambda: _said(torch.are_deterministic_algorithms_enabled()),
    "fill_uninitialized_memory": lambda: _said(torch.utils.deterministic.fill_uninitialized_memory),
    "matmul_precision": torch.get_float32_matmul_precision,
    "flush_denormal": _flushes_denormals,
}
