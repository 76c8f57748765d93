"""PyTorch behind the backend interface.

Gradients come from autograd, a shard at a time. The optimizers' arithmetic is ours: plain tensor operations in a fixed
order, one rounding each (no `alpha=`, `addcmul`, `lerp`: they may fuse a multiplication with an addition, and then the
bits depend on the instruction set), so that the optimizer's tensors are named, known, and another backend can have the
same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reprise_trainer.backends.interface import (
    AdamW,
    Loss,
    Optimizer,
    Predictions,
    Sgd,
    ShardKey,
    Tensors,
)
from reprise_trainer.backends.models import Model, parameters
from reprise_trainer.backends.torch_models import record_losses, scores
from reprise_trainer.data.batches import Fields
from reprise_trainer.errors import InputError, SystemFailureError

STEP = "step"
_MOMENTS: dict[type[Optimizer], tuple[str, ...]] = {Sgd: ("velocity",), AdamW: ("mean", "square")}


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
        model = {name: torch.from_numpy(values[name].copy()) for name in self._shapes}
        moments = {
            moment: {name: torch.zeros(shape) for name, shape in self._shapes.items()}
            for moment in _MOMENTS[type(self._optimizer)]
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
            model[name], new = _update(self._optimizer, value, gradient / sums.weight, old, rate, step)
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
        tensors: dict[str, NDArray[Any]] = {STEP: np.array(state.step, np.int64)}
        tensors |= {f"model/{name}": value.numpy().copy() for name, value in state.model.items()}
        for moment, values in state.moments.items():
            tensors |= {f"optimizer/{moment}/{name}": value.numpy().copy() for name, value in values.items()}
        return tensors

    def load(self, tensors: Tensors) -> TorchState:
        """See `Backend.load`."""
        moments = _MOMENTS[type(self._optimizer)]
        prefixes = ["model", *(f"optimizer/{moment}" for moment in moments)]
        expected = {f"{prefix}/{name}": shape for prefix in prefixes for name, shape in self._shapes.items()}
        for name in sorted({STEP, *expected} ^ set(tensors)):
            raise InputError(f"the state's tensor {name!r} is {'unknown here' if name in tensors else 'missing'}")
        for name, shape in expected.items():
            if tensors[name].shape != shape or tensors[name].dtype != np.float32:
                found = f"{tensors[name].dtype} {tensors[name].shape}"
                raise InputError(f"the state's tensor {name!r} is {found}, expected float32 {shape}")
        groups = [
            {name: torch.from_numpy(tensors[f"{prefix}/{name}"].copy()) for name in self._shapes} for prefix in prefixes
        ]
        return TorchState(int(tensors[STEP]), groups[0], dict(zip(moments, groups[1:], strict=True)))


def integer_power(base: float, exponent: int) -> float:
    """`base ** exponent` by squaring: multiplications alone, so that no mathematical library decides its bits."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base, exponent = base * base, exponent >> 1
    return result


def _update(
    optimizer: Optimizer, value: Tensor, gradient: Tensor, old: Mapping[str, Tensor], rate: float, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """One parameter's new value and moments."""
    match optimizer:
        case Sgd(momentum, decay):
            velocity = old["velocity"] * momentum + gradient + value * decay
            return value - velocity * rate, {"velocity": velocity}
        case AdamW(beta1, beta2, epsilon, decay):
            mean = old["mean"] * beta1 + gradient * (1.0 - beta1)
            square = old["square"] * beta2 + (gradient * gradient) * (1.0 - beta2)
            # float32 sqrt goes through a vector library that does not round exactly and differs between CPU makers;
            # float64 sqrt followed by one narrowing is the same everywhere.
            root = (square / (1.0 - integer_power(beta2, step))).double().sqrt().float()
            change = (mean / (1.0 - integer_power(beta1, step))) / (root + epsilon)
            return value - value * (rate * decay) - change * rate, {"mean": mean, "square": square}


def _tensors(fields: Fields) -> tuple[Tensor, Tensor]:
    """Images uint8 (records, height, width) and labels int64 (records,)."""
    return torch.from_numpy(np.ascontiguousarray(fields["image"])), torch.from_numpy(fields["label"].astype(np.int64))
