"""A training state as named NumPy tensors, the same for every backend: what a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprise_trainer.backends.interface import AdamW, Optimizer, Recipe, Sgd, Tensors
from reprise_trainer.backends.layout import Layout
from reprise_trainer.errors import InputError

STEP = "step"
EMA = "ema"
_MOMENTS: dict[type[Optimizer], tuple[str, ...]] = {Sgd: ("velocity",), AdamW: ("mean", "square")}


@dataclass(frozen=True, slots=True)
class TrainingState:
    """One immutable state: finished steps, parameters, moments (by name) and average as flat float32 vectors of the
    framework (`layout` says what lies where), and the model's buffers by name. `average` is None without an EMA."""

    step: int
    model: Any
    buffers: Mapping[str, Any]
    moments: Mapping[str, Any]
    average: Any = None

    @property
    def weights(self) -> Any:
        """The parameters to evaluate: the averaged ones where there are."""
        return self.model if self.average is None else self.average


def moments_of(optimizer: Optimizer) -> tuple[str, ...]:
    """The optimizer's tensors beside each parameter, by name."""
    return _MOMENTS[type(optimizer)]


def tensor_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """Second names of parameters (see `Backend.aliases`) → the names that their tensors have in a state."""
    return {f"model/{name}": f"model/{target}" for name, target in aliases.items()}


def to_tensors(layout: Layout, state: TrainingState) -> dict[str, NDArray[Any]]:
    """The tensors of a state whose vectors and buffers are NumPy arrays. Nothing is copied, all are read-only."""
    vectors = {"model": state.model} | {f"optimizer/{moment}": each for moment, each in state.moments.items()}
    if state.average is not None:
        vectors[EMA] = state.average
    tensors = {f"{prefix}/{name}": view for prefix, v in vectors.items() for name, view in layout.views(v).items()}
    tensors |= {f"buffer/{name}": np.asarray(value) for name, value in state.buffers.items()}
    tensors[STEP] = np.array(state.step, np.int64)
    for tensor in tensors.values():
        tensor.flags.writeable = False
    return tensors


def from_tensors(tensors: Tensors, layout: Layout, buffers: Tensors, recipe: Recipe) -> TrainingState:
    """The state in `tensors`, as NumPy arrays. Vectors are new memory; buffers are not copied.

    Args:
        tensors: as `to_tensors` gives them.
        layout: the model's parameters.
        buffers: the model's buffers, for their shapes and element types.
        recipe: says which moments there are, and whether an average.

    Raises:
        InputError: a tensor is missing, unknown, or of another shape or element type.
    """
    moments = moments_of(recipe.optimizer)
    prefixes = ["model", *(f"optimizer/{moment}" for moment in moments), *([EMA] if recipe.ema_decay else [])]
    float32 = np.dtype(np.float32)
    expected = {f"{prefix}/{name}": (float32, s) for prefix in prefixes for name, s in layout.shapes.items()}
    expected |= {f"buffer/{name}": (value.dtype, value.shape) for name, value in buffers.items()}
    for name in sorted({STEP, *expected} ^ set(tensors)):
        raise InputError(f"the state's tensor {name!r} is {'unknown here' if name in tensors else 'missing'}")
    for name, (dtype, shape) in expected.items():
        if tensors[name].shape != shape or tensors[name].dtype != dtype:
            found = f"{tensors[name].dtype} {tensors[name].shape}"
            raise InputError(f"the state's tensor {name!r} is {found}, expected {dtype} {shape}")
    vectors = {
        prefix: layout.pack({name: tensors[f"{prefix}/{name}"] for name in layout.shapes}) for prefix in prefixes
    }
    return TrainingState(
        step=int(tensors[STEP]),
        model=vectors["model"],
        buffers={name: tensors[f"buffer/{name}"] for name in buffers},
        moments={moment: vectors[f"optimizer/{moment}"] for moment in moments},
        average=vectors.get(EMA),
    )
