"""A training state as named NumPy tensors, the same for every backend: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import AdamW, Optimizer, Sgd, Tensors
from reprise_trainer.errors import InputError

STEP = "step"
_MOMENTS: dict[type[Optimizer], tuple[str, ...]] = {Sgd: ("velocity",), AdamW: ("mean", "square")}

Groups = Mapping[str, Mapping[str, NDArray[Any]]]
"""Moment → parameter → tensor."""


def moments_of(optimizer: Optimizer) -> tuple[str, ...]:
    """The optimizer's tensors beside each parameter, by name."""
    return _MOMENTS[type(optimizer)]


def to_tensors(step: int, model: Tensors, moments: Groups) -> dict[str, NDArray[Any]]:
    """The tensors of a state: `step`, `model/<parameter>`, `optimizer/<moment>/<parameter>`. Nothing is copied."""
    tensors: dict[str, NDArray[Any]] = {STEP: np.array(step, np.int64)}
    tensors |= {f"model/{name}": value for name, value in model.items()}
    for moment, values in moments.items():
        tensors |= {f"optimizer/{moment}/{name}": value for name, value in values.items()}
    return tensors


def from_tensors(
    tensors: Tensors, shapes: Mapping[str, tuple[int, ...]], optimizer: Optimizer
) -> tuple[int, dict[str, NDArray[Any]], dict[str, dict[str, NDArray[Any]]]]:
    """Step, parameters and moments in `tensors`. Nothing is copied.

    Args:
        tensors: as `to_tensors` gives them.
        shapes: parameter name → shape.
        optimizer: says which moments there are.

    Raises:
        InputError: a tensor is missing, unknown, or of another shape or element type.
    """
    moments = moments_of(optimizer)
    prefixes = ["model", *(f"optimizer/{moment}" for moment in moments)]
    expected = {f"{prefix}/{name}": shape for prefix in prefixes for name, shape in shapes.items()}
    for name in sorted({STEP, *expected} ^ set(tensors)):
        raise InputError(f"the state's tensor {name!r} is {'unknown here' if name in tensors else 'missing'}")
    for name, shape in expected.items():
        if tensors[name].shape != shape or tensors[name].dtype != np.float32:
            found = f"{tensors[name].dtype} {tensors[name].shape}"
            raise InputError(f"the state's tensor {name!r} is {found}, expected float32 {shape}")
    model, *groups = [{name: tensors[f"{prefix}/{name}"] for name in shapes} for prefix in prefixes]
    return int(tensors[STEP]), model, dict(zip(moments, groups, strict=True))
