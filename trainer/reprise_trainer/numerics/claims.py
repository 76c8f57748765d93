"""What is known of operations without measuring them here: which are the same on every machine, and which on none.

Names are those of the frameworks (ATen's schema names, JAX's primitives), or of the operation table's entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

OPEN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "torch": {
            "sqrt": "float32 roots go through MKL's vector mathematics, which starts from the CPU's approximate "
            "reciprocal root: its bits differ between CPUs under every profile; our own update takes roots in float64",
        },
        "jax": {},
    }
)
"""Backend → entry of the table that no profile promises anything for → why."""

_ATEN = """
_reshape_alias _to_copy _unsafe_view alias arange as_strided cat clone constant_pad_nd copy copy_ detach detach_ empty
empty_like empty_strided eye fill fill_ flip full full_like gather im2col index index_put_ index_select lift_fresh
masked_fill masked_fill_ masked_select new_empty new_empty_strided new_full new_ones new_zeros ones ones_like repeat
roll scalar_tensor select_backward slice_backward stack tril triu where zero_ zeros zeros_like
abs amax amin ceil clamp clamp_max clamp_min floor max max_pool2d_with_indices maximum min minimum neg relu relu_ round
sgn sign threshold threshold_backward trunc
"""
_JAX = """
broadcast_in_dim concatenate convert_element_type copy copy_p dynamic_slice dynamic_update_slice gather iota
optimization_barrier pad reshape rev scatter select_n slice sort split squeeze transpose
abs add add_any ceil clamp floor max min mul neg reduce_max reduce_min reduce_window_max round sign sub
"""

EXACT: Mapping[str, frozenset[str]] = MappingProxyType(
    {"torch": frozenset(f"aten::{name}" for name in _ATEN.split()), "jax": frozenset(_JAX.split())}
)
"""Backend → operations that only move or choose values, or round once as IEEE 754 says: the same bits on every CPU.

In JAX a compiled program may fuse `mul` and `add` into one operation of one rounding; whether it does is the compiler's
choice for the profile's instruction set, and not the CPU's.
"""
