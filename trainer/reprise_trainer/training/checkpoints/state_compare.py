"""Two states → equal, or how far apart they are: which tensors and elements, both values, and the distance in ULPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How one tensor differs between two states.

    Attributes:
        name: the tensor's name.
        why: what keeps the two from being compared element by element; empty where they could be.
        elements, differing: how many elements there are, and how many differ in their bits.
        index: place of the first that differs, one number a dimension.
        left, right: that element's two values, so that equal text means equal bits (floats as hex, NaN with its bits).
        ulps: distance between the two: how many steps from one number to the next one of their type; None for a NaN.
        largest: the largest such distance in the tensor; None where an element is NaN on one side.
    """

    name: str
    why: str = ""
    elements: int = 0
    differing: int = 0
    index: tuple[int, ...] = ()
    left: str = ""
    right: str = ""
    ulps: int | None = None
    largest: int | None = None

    def __str__(self) -> str:
        if self.why:
            return f"{self.name}: {self.why}"
        place = f"[{', '.join(map(str, self.index))}]"
        return (
            f"{self.name}{place}: {self.left} against {self.right}, {_ulps(self.ulps)} apart; "
            f"{self.differing} of {self.elements} elements differ, by at most {_ulps(self.largest)}"
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_states(left: Tensors, right: Tensors) -> tuple[TensorDifference, ...]:
    """Every tensor that differs, in order of names; none where the states are equal bit for bit."""
    found = (_compare(name, left.get(name), right.get(name)) for name in sorted({*left, *right}))
    return tuple(each for each in found if each is not None)


def ulps_apart(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.uint64]:
    """How many steps from one number to the next of their type lie between two arrays' elements; 0.0 and -0.0 are one.

    Args:
        left, right: same shape, same floating or integer element type; NaNs count as numbers beyond infinity.
    """
    a, b = _ordered(left), _ordered(right)
    return np.where(a > b, a - b, b - a)


def _compare(name: str, left: NDArray[Any] | None, right: NDArray[Any] | None) -> TensorDifference | None:
    if left is None or right is None:
        return TensorDifference(name, f"only the {'second' if left is None else 'first'} state has it")
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return TensorDifference(name, f"{left.dtype} {left.shape} against {right.dtype} {right.shape}")
    if left.dtype.kind not in "fiub":
        equal = left.tobytes() == right.tobytes()
        return None if equal else TensorDifference(name, f"other bits; elements of type {left.dtype} are not compared")
    a, b = (np.ascontiguousarray(each).reshape(-1) for each in (left, right))
    bits = np.dtype(f"u{left.dtype.itemsize}")
    differing = np.flatnonzero(a.view(bits) != b.view(bits))
    if differing.size == 0:
        return None
    first = int(differing[0])
    distances = ulps_apart(a[differing], b[differing])
    comparable = ~(_is_nan(a[differing]) | _is_nan(b[differing]))
    return TensorDifference(
        name,
        elements=left.size,
        differing=int(differing.size),
        index=tuple(int(each) for each in np.unravel_index(first, left.shape)),
        left=_shown(a[first]),
        right=_shown(b[first]),
        ulps=int(distances[0]) if comparable[0] else None,
        largest=int(distances.max()) if comparable.all() else None,
    )


def _ordered(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Unsigned integers in the order of the numbers, one step a representable number."""
    bits = values.view(np.dtype(f"u{values.dtype.itemsize}")).astype(np.uint64)
    if values.dtype.kind in "ub":
        return bits
    half = np.uint64(1) << np.uint64(8 * values.dtype.itemsize - 1)
    if values.dtype.kind == "i":  # two's complement
        return bits ^ half
    magnitude = bits & (half - np.uint64(1))  # sign and magnitude: both zeros become the middle
    return np.where(bits & half, half - magnitude, half + magnitude)


def _is_nan(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)


def _shown(value: Any) -> str:
    if value.dtype.kind != "f":
        return str(value)
    bits = value.view(np.dtype(f"u{value.dtype.itemsize}"))
    return f"NaN (bits 0x{int(bits):x})" if np.isnan(value) else f"{float(value)!r} ({float(value).hex()})"


def _ulps(count: int | None) -> str:
    return "not comparable" if count is None else f"{count} ULP{'' if count == 1 else 's'}"
