"""PyTorch behind the backend interface: states of flat vectors, gradients from autograd, a shard at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise_trainer.backends import torch_switches
from reprise_trainer.backends.freed_memory import keep_freed_memory
from reprise_trainer.backends.interface import Loss, Predictions, Recipe, ShardKey, Tensors
from reprise_trainer.backends.models import Model, Own
from reprise_trainer.backends.state_tensors import TrainingState, from_tensors, moments_of, to_tensors
from reprise_trainer.backends.torch_models import BuiltInProgram
from reprise_trainer.backends.torch_own import OwnProgram
from reprise_trainer.backends.torch_program import TorchProgram, Values
from reprise_trainer.backends.torch_trace import OperationsSeen
from reprise_trainer.backends.torch_update import added, next_state
from reprise_trainer.data.batches import Fields
from reprise_trainer.errors import InputError


@dataclass(frozen=True, slots=True)
class TorchSums:
    """Sums over the records of one or more shards: scalar `loss`, `weight`, the flat `gradient`; and the shards' mean
    `buffers`."""

    loss: Tensor
    weight: int | Tensor
    gradient: Tensor
    buffers: Values


_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Size of a floating-point element in bytes → the integers of that size."""


class TorchBackend:
    """The CPU backend on PyTorch, for one model and one recipe."""

    name = "torch"
    version = str(torch.__version__)

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self._program: TorchProgram
        self._program = OwnProgram(model) if isinstance(model, Own) else BuiltInProgram(model, recipe.precision)
        self._recipe = recipe
        self._layout = self._program.layout
        self._gaps = [torch.zeros(gap) for gap in self._layout.gaps]

    def prepare(self, switches: Mapping[str, str], threads: int) -> tuple[str, ...]:
        """See `Backend.prepare`."""
        keep_freed_memory()
        return torch_switches.prepare(switches, threads)

    def operations(self, state: TrainingState, fields: Fields, key: ShardKey) -> frozenset[str]:
        """See `Backend.operations`."""
        with OperationsSeen() as seen:
            self.shard_sums(state, fields, key)
        return frozenset(seen.names)

    def random_streams(self) -> dict[str, str]:
        """See `Backend.random_streams`."""
        return self._program.random_streams()

    def aliases(self) -> dict[str, str]:
        """See `Backend.aliases`."""
        return self._program.aliases()

    def initial(self, seed: int) -> TrainingState:
        """See `Backend.initial`."""
        values, buffers = self._program.initial(seed)
        model = torch.from_numpy(self._layout.pack(values))
        moments = {moment: torch.zeros_like(model) for moment in moments_of(self._recipe.optimizer)}
        average = None if self._recipe.ema_decay is None else model
        return TrainingState(0, model, _copied(buffers), moments, average)

    def shard_sums(self, state: TrainingState, fields: Fields, key: ShardKey) -> TorchSums:
        """See `Backend.shard_sums`."""
        done = self._program.shard(self._layout.views(state.model), state.buffers, fields, key)
        pieces = zip((found.reshape(-1) for found in done.gradients), self._gaps, strict=True)
        gradient = torch.cat([each for piece in pieces for each in piece])
        return TorchSums(done.loss, done.weight, gradient, done.buffers)

    def add(self, left: TorchSums, right: TorchSums) -> TorchSums:
        """See `Backend.add`."""
        buffers = {name: _joined(name, value, right.buffers[name]) for name, value in left.buffers.items()}
        gradient = added(left.gradient, right.gradient)
        return TorchSums(left.loss + right.loss, left.weight + right.weight, gradient, buffers)

    def loss(self, sums: TorchSums) -> Loss:
        """See `Backend.loss`."""
        return Loss(float(sums.loss), _number(sums.weight))

    def gradient_sums(self, sums: TorchSums) -> dict[str, int]:
        """See `Backend.gradient_sums`."""
        return self._layout.bit_sums(sums.gradient.numpy())

    def sums_tensors(self, sums: TorchSums) -> dict[str, NDArray[Any]]:
        """See `Backend.sums_tensors`."""
        tensors = {"loss": sums.loss, "weight": torch.as_tensor(sums.weight), "gradient": sums.gradient}
        tensors |= {f"buffer/{name}": value for name, value in sums.buffers.items()}
        return {name: tensor.numpy() for name, tensor in tensors.items()}

    def load_sums(self, tensors: Tensors) -> TorchSums:
        """See `Backend.load_sums`."""
        found = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
        weight = found["weight"] if found["weight"].is_floating_point() else int(found["weight"])
        buffers = {name.removeprefix("buffer/"): each for name, each in found.items() if name.startswith("buffer/")}
        return TorchSums(found["loss"], weight, found["gradient"], buffers)

    def is_finite(self, sums: TorchSums) -> bool:
        """See `Backend.is_finite`."""
        # One pass over memory; a sum of finite numbers may overflow, so only a finite one is an answer.
        return bool(sums.gradient.sum().isfinite()) or bool(sums.gradient.isfinite().all())

    def gradient_norms(self, sums: TorchSums) -> dict[str, float]:
        """See `Backend.gradient_norms`."""
        mean = sums.gradient.double() / _number(sums.weight)
        return {name: float(view.norm()) for name, view in self._layout.views(mean).items()}

    def apply(self, state: TrainingState, sums: TorchSums, rate: float) -> TrainingState:
        """See `Backend.apply`."""
        with torch.no_grad():
            new = next_state(state, sums.gradient, _number(sums.weight), self._recipe, rate)
        return TrainingState(new.step, new.model, sums.buffers, new.moments, new.average)

    def predict(self, state: TrainingState, fields: Fields) -> Predictions:
        """See `Backend.predict`."""
        with torch.no_grad():
            return self._program.predict(self._layout.views(state.weights), state.buffers, fields)

    def export(self, state: TrainingState) -> dict[str, NDArray[Any]]:
        """See `Backend.export`."""
        moments = {name: vector.numpy() for name, vector in state.moments.items()}
        buffers = {name: value.numpy() for name, value in state.buffers.items()}
        average = None if state.average is None else state.average.numpy()
        return to_tensors(self._layout, TrainingState(state.step, state.model.numpy(), buffers, moments, average))

    def load(self, tensors: Tensors) -> TrainingState:
        """See `Backend.load`."""
        read = from_tensors(tensors, self._layout, self._program.buffers, self._recipe)
        moments = {name: torch.from_numpy(vector) for name, vector in read.moments.items()}
        average = None if read.average is None else torch.from_numpy(read.average)
        return TrainingState(read.step, torch.from_numpy(read.model), _copied(read.buffers), moments, average)


def _joined(name: str, left: Tensor, right: Tensor) -> Tensor:
    """The mean of two shards' buffers. Elements of equal bits stay, frozen weights among them: a half of the smallest
    numbers is not exact. The others are halved first, so that large ones don't overflow."""
    if left.is_floating_point():
        bits = _BITS[left.element_size()]
        return torch.where(left.view(bits) == right.view(bits), left, left * 0.5 + right * 0.5)
    if not torch.equal(left, right):
        raise InputError(
            f"buffer {name!r} differs between shards, and {left.dtype} values have no mean",
            hint="An integer buffer may count steps, but not depend on a shard's records.",
        )
    return left


def _number(weight: int | Tensor) -> float:
    return weight if isinstance(weight, int) else float(weight)


def _copied(arrays: Tensors) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
