"""The profile's in-process switches in PyTorch: set each, then ask PyTorch what it is set to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from reprise_trainer.errors import SystemFailureError


def prepare(switches: Mapping[str, str], threads: int) -> tuple[str, ...]:
    """Set the switches and the number of threads, and check that PyTorch follows.

    Returns:
        Nothing: why equal bits cannot be promised with this build.

    Raises:
        SystemFailureError: PyTorch reports something else than the profile asks for.
    """
    for name, expected in {**switches, "threads": str(threads)}.items():
        try:
            if name in SET:
                SET[name](expected)
            found = READ[name]() if name in READ else None
        except (RuntimeError, ValueError):  # PyTorch knows no such value
            found = None
        if found != expected:
            raise SystemFailureError(
                f"torch reports {name} {found!r}, the profile asks for {expected!r}",
                hint="The CPU or this build of torch cannot keep the profile; nothing was trained.",
            )
    return ()


def _set_interop_threads(value: str) -> None:
    if torch.get_num_interop_threads() != int(value):  # it can be set once in a process
        torch.set_num_interop_threads(int(value))


def _set_device(value: str) -> None:
    if value == "cuda" and not torch.cuda.is_available():
        built = "this build of torch is for CPUs" if torch.version.cuda is None else "torch finds no usable NVIDIA GPU"
        raise SystemFailureError(
            f"the profile computes on a GPU, and {built}",
            hint='Use an environment with CUDA on a machine with a GPU and its driver, or profile = "x86-64-v3".',
        )
    if value == "cuda":  # better than to train on the CPU and call it a GPU's
        raise SystemFailureError(
            "the profile computes on a GPU, and this version keeps PyTorch's tensors on the CPU",
            hint='Set train.backend = "jax", which places its arrays on the GPU, or profile = "x86-64-v3".',
        )
    if torch.get_default_device().type != value:  # setting it slows every call down, even to what it is
        torch.set_default_device(value)


def _set_attention(value: str) -> None:
    """ "math": attention by plain products; the fused kernels off."""
    for enable in (
        torch.backends.cuda.enable_flash_sdp,
        torch.backends.cuda.enable_mem_efficient_sdp,
        torch.backends.cuda.enable_cudnn_sdp,
    ):
        enable(value != "math")


def _attention() -> str:
    fused = (
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.cudnn_sdp_enabled(),
    )
    return "fused" if any(fused) else "math"


def _set_reduced_precision_sums(value: str) -> None:
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = value == "true"
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = value == "true"


def _reduced_precision_sums() -> str:
    matmul = torch.backends.cuda.matmul
    return _said(bool(matmul.allow_fp16_reduced_precision_reduction or matmul.allow_bf16_reduced_precision_reduction))


def _set_flag(owner: Any, name: str) -> Callable[[str], None]:
    return lambda value: setattr(owner, name, value == "true")


def _flag(owner: Any, name: str) -> Callable[[], str]:
    return lambda: _said(bool(getattr(owner, name)))


def _set_fill(value: str) -> None:
    torch.utils.deterministic.fill_uninitialized_memory = value == "true"


def _flushes_denormals() -> str:
    return _said(bool((torch.full((1,), 1e-39) * 1.0 == 0.0).item()))  # PyTorch sets this and cannot be asked


def _said(value: bool) -> str:
    return str(value).lower()


SET: Mapping[str, Callable[[str], None]] = {
    "device": _set_device,
    "threads": lambda value: torch.set_num_threads(int(value)),
    "interop_threads": _set_interop_threads,
    "deterministic": lambda value: torch.use_deterministic_algorithms(value == "true"),
    "fill_uninitialized_memory": _set_fill,
    "matmul_precision": torch.set_float32_matmul_precision,
    "flush_denormal": lambda value: torch.set_flush_denormal(value == "true"),
    "cudnn_deterministic": _set_flag(torch.backends.cudnn, "deterministic"),
    "cudnn_benchmark": _set_flag(torch.backends.cudnn, "benchmark"),
    "cudnn_tf32": _set_flag(torch.backends.cudnn, "allow_tf32"),
    "matmul_tf32": _set_flag(torch.backends.cuda.matmul, "allow_tf32"),
    "reduced_precision_sums": _set_reduced_precision_sums,
    "attention": _set_attention,
}

READ: Mapping[str, Callable[[], str]] = {
    "device": lambda: str(torch.get_default_device().type),
    "threads": lambda: str(torch.get_num_threads()),
    "interop_threads": lambda: str(torch.get_num_interop_threads()),
    "capability": torch.backends.cpu.get_cpu_capability,
    "mkldnn": lambda: _said(torch.backends.mkldnn.is_available()),
    "deterministic": lambda: _said(torch.are_deterministic_algorithms_enabled()),
    "fill_uninitialized_memory": lambda: _said(torch.utils.deterministic.fill_uninitialized_memory),
    "matmul_precision": torch.get_float32_matmul_precision,
    "flush_denormal": _flushes_denormals,
    "cudnn_deterministic": _flag(torch.backends.cudnn, "deterministic"),
    "cudnn_benchmark": _flag(torch.backends.cudnn, "benchmark"),
    "cudnn_tf32": _flag(torch.backends.cudnn, "allow_tf32"),
    "matmul_tf32": _flag(torch.backends.cuda.matmul, "allow_tf32"),
    "reduced_precision_sums": _reduced_precision_sums,
    "attention": _attention,
}
