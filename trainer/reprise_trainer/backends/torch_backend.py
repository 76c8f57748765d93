"""PyTorch behind the backend interface.

Gradients come from autograd, a shard at a time. The optimizers' arithmetic is ours (`update`), on plain tensors: no
`alpha=`, `addcmul`, `lerp`, which may fuse a multiplication with an addition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise_trainer.backends.interface import Loss, Optimizer, Predictions, ShardKey, Tensors
from reprise_trainer.backends.models import Model, parameters
from reprise_trainer.backends.state_tensors import from_tensors, moments_of, to_tensors
from reprise_trainer.backends.torch_models import record_losses, scores
from reprise_trainer.backends.update import Rounded, update
from reprise_trainer.data.batches import Fields
from reprise_trainer.errors import SystemFailureError


@dataclass(frozen=True, slots=True)
class TorchState:
    """Step, parameters and optimizer tensors (moment → parameter → tensor); nothing in it is ever changed in place."""

    step: int
    model: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class TorchSums:
    """Sums over the records of one or more shards; `loss` is a float32 scalar tensor."""

    loss: Tensor
    weight: int
    gradients: tuple[Tensor, ...]


class TorchBackend:
    """The CPU backend on PyTorch, for one model and one optimizer."""

    name = "torch"
    version = str(torch.__version__)

    def __init__(self, model: Model, optimizer: Optimizer) -> None:
        self._model = model
        self._optimizer = optimizer
        self._shapes = {each.name: each.shape for each in parameters(model)}

    def prepare(self, switches: Mapping[str, str], threads: int) -> None:
        """See `Backend.prepare`."""
        torch.set_num_threads(threads)
        if torch.get_num_interop_threads() != 1:
            torch.set_num_interop_threads(1)
        torch.use_deterministic_algorithms(True)
        # Filling fresh memory costs time and hides nothing here: every operation that we use writes all of its output.
        torch.utils.deterministic.fill_uninitialized_memory = False
        torch.set_float32_matmul_precision("highest")
        torch.set_flush_denormal(False)
        found = {
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": str(torch.get_num_threads()),
            "mkldnn": str(torch.backends.mkldnn.is_available()).lower(),
        }
        for name, expected in {**switches, "threads": str(threads)}.items():
            if found.get(name) != expected:
                raise SystemFailureError(
                    f"torch reports {name} {found.get(name)!r}, the profile asks for {expected!r}",
                    hint="The CPU or this build of torch cannot keep the profile; nothing was trained.",
                )

    def initial(self, values: Tensors) -> TorchState:
        """See `Backend.initial`."""
        model = _copied({name: values[name] for name in self._shapes})
        moments = {
            moment: {name: torch.zeros(shape) for name, shape in self._shapes.items()}
            for moment in moments_of(self._optimizer)
        }
        return TorchState(0, model, moments)

    def shard_sums(self, state: TorchState, fields: Fields, key: ShardKey) -> TorchSums:
        """See `Backend.shard_sums`."""
        model = {name: value.detach().requires_grad_() for name, value in state.model.items()}
        images, labels = _tensors(fields)
        loss = record_losses(scores(self._model, model, images, key), labels).sum()
        gradients = torch.autograd.grad(loss, tuple(model.values()))
        return TorchSums(loss.detach(), len(labels), gradients)

    def add(self, left: TorchSums, right: TorchSums) -> TorchSums:
        """See `Backend.add`."""
        gradients = tuple(a + b for a, b in zip(left.gradients, right.gradients, strict=True))
        return TorchSums(left.loss + right.loss, left.weight + right.weight, gradients)

    def loss(self, sums: TorchSums) -> Loss:
        """See `Backend.loss`."""
        return Loss(float(sums.loss), sums.weight)

    def gradient_sums(self, sums: TorchSums) -> dict[str, int]:
        """See `Backend.gradient_sums`."""
        return {
            name: int(gradient.contiguous().view(torch.int32).sum(dtype=torch.int64))
            for name, gradient in zip(self._shapes, sums.gradients, strict=True)
        }

    def apply(self, state: TorchState, sums: TorchSums, rate: float) -> TorchState:
        """See `Backend.apply`."""
        step = state.step + 1
        model: dict[str, Tensor] = {}
        moments: dict[str, dict[str, Tensor]] = {moment: {} for moment in state.moments}
        for (name, value), gradient in zip(state.model.items(), sums.gradients, strict=True):
            old = {moment: tensors[name] for moment, tensors in state.moments.items()}
            mean = _ROUNDED.divide(gradient, sums.weight)
            model[name], new = update(self._optimizer, value, mean, old, rate=rate, step=step, rounded=_ROUNDED)
            for moment, tensor in new.items():
                moments[moment][name] = tensor
        return TorchState(step, model, moments)

    def predict(self, state: TorchState, fields: Fields) -> Predictions:
        """See `Backend.predict`."""
        images, labels = _tensors(fields)
        with torch.no_grad():
            result = scores(self._model, state.model, images, None)
            return Predictions(result.numpy(), record_losses(result, labels).numpy())

    def export(self, state: TorchState) -> dict[str, NDArray[Any]]:
        """See `Backend.export`."""
        moments = {moment: _arrays(values) for moment, values in state.moments.items()}
        return to_tensors(state.step, _arrays(state.model), moments)

    def load(self, tensors: Tensors) -> TorchState:
        """See `Backend.load`."""
        step, model, moments = from_tensors(tensors, self._shapes, self._optimizer)
        return TorchState(step, _copied(model), {moment: _copied(values) for moment, values in moments.items()})


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy().copy() for name, tensor in tensors.items()}


def _copied(arrays: Tensors) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}


def _tensors(fields: Fields) -> tuple[Tensor, Tensor]:
    """Images uint8 (records, height, width) and labels int64 (records,)."""
    return torch.from_numpy(np.ascontiguousarray(fields["image"])), torch.from_numpy(fields["label"].astype(np.int64))


# float32 sqrt goes through a vector library that does not round exactly and differs between CPU makers; float64 sqrt
# followed by one narrowing is the same everywhere, and rounded exactly.
_ROUNDED = Rounded(sqrt=lambda x: x.double().sqrt().float(), divide=lambda x, number: x / number)
