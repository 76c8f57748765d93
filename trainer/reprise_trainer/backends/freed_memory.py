"""Memory that a step frees stays with the process, for the next step.

glibc's malloc maps large blocks anew each time they are asked for, and gives freed memory at the heap's end back; the
kernel then zeroes the same pages again in every step. XLA's scratch buffer of the character GPT alone (over 32 MiB, the
most that malloc raises its limit to by itself) costs 13,000 page faults a step, a third of its time. No bit depends on
this.
"""

from __future__ import annotations

import ctypes

_MMAP_MAX, _TOP_PAD, _TRIM_THRESHOLD = -4, -2, -1  # mallopt(3)
_HEAP_GROWTH = 64 << 20
"""Bytes that the heap grows by beyond what was asked for, so that it grows seldom."""


def keep_freed_memory() -> None:
    """Let malloc take all from the heap and keep the heap; nothing happens where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _HEAP_GROWTH)):
            mallopt(option, value)
