"""A user's PyTorch module behind the backend interface.

The module is a workspace: before each shard the state's parameters and buffers are copied into it, so that nothing of
it outlives a shard. All generators that such code commonly draws from are seeded first: by (seed, step, shard), and by
a fixed key before a batch that is evaluated, where neither the run's seed nor the batch's place is known. They and the
module are one to a process, so shards are computed one after the other; more workers are more processes.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprise_trainer.backends.buffers import require_kept, require_stored
from reprise_trainer.backends.interface import WEIGHT, Predictions, ShardKey, Tensors
from reprise_trainer.backends.layout import layout_of
from reprise_trainer.backends.models import EVALUATION, EVALUATION_KEYED, Own
from reprise_trainer.backends.torch_program import ShardResult, Values
from reprise_trainer.data.batches import Fields
from reprise_trainer.data.philox import stream_key
from reprise_trainer.entry_point import load_entry_point, require_options
from reprise_trainer.errors import InputError

Batch = Mapping[str, Tensor]


class OwnProgram:
    """See `TorchProgram`. A parameter that asks for no gradient is a buffer: part of the state, never updated."""

    def __init__(self, own: Own) -> None:
        self._own = own
        self._make = load_entry_point(own.model, where="model.model")
        require_options(self._make, None, options=own.options, where="model.options")
        self._loss: Callable[..., Any] = load_entry_point(own.loss, where="model.loss")
        self._lock = threading.Lock()
        self._module = self._made(0)
        self._parameters = {name: each for name, each in self._module.named_parameters() if each.requires_grad}
        for name, parameter in self._parameters.items():
            if parameter.dtype != torch.float32:
                raise InputError(f"{own.model}: parameter {name!r} is {parameter.dtype}; weights are kept in float32")
        self._generators = _generators(self._module)
        self.layout = layout_of({name: tuple(each.shape) for name, each in self._parameters.items()})
        require_stored(own.model, _buffers(self._module))
        self.buffers: Tensors = {name: value.numpy().copy() for name, value in _buffers(self._module).items()}

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """See `TorchProgram.initial`."""
        module = self._made(seed)
        named = dict(module.named_parameters())
        parameters = {name: named[name].detach().numpy().copy() for name in self._parameters}
        return parameters, {name: value.numpy().copy() for name, value in _buffers(module).items()}

    def shard(self, values: Values, buffers: Values, fields: Fields, key: ShardKey) -> ShardResult:
        """See `TorchProgram.shard`."""
        with self._lock:
            self._enter(values, buffers)
            self._module.train()
            number = _seeded(self._generators, key.seed, "shard", key.step, key.shard)
            loss, weight = self._checked(self._loss(self._module, _batch(fields), number))
            gradients = torch.autograd.grad(loss, list(self._parameters.values()), materialize_grads=True)
            after = {name: value.clone() for name, value in self._buffers_after(buffers).items()}
        return ShardResult(loss.detach(), weight, gradients, after)

    def predict(self, values: Values, buffers: Values, fields: Fields) -> Predictions:
        """See `TorchProgram.predict`."""
        with self._lock:
            self._enter(values, buffers)
            self._module.eval()
            _seeded(self._generators, 0, EVALUATION)
            loss, weight = self._checked(self._loss(self._module, _batch(fields), None))
            self._buffers_after(buffers)
        return Predictions(np.array([float(loss)], np.float32), np.array([float(weight)], np.float32))

    def random_streams(self) -> dict[str, str]:
        """See `Backend.random_streams`."""
        keyed = "seed, step, shard"
        streams = {"initial": "seed", EVALUATION: EVALUATION_KEYED}
        streams |= {"torch.default_generator": keyed, "random": keyed, "numpy.random": keyed}
        streams |= {f"torch.cuda.default_generators[{index}]": keyed for index in range(len(_cuda()))}
        return streams | dict.fromkeys(self._generators, f"{keyed}, path")

    def aliases(self) -> dict[str, str]:
        """See `Backend.aliases`."""
        first = {id(parameter): name for name, parameter in self._parameters.items()}
        every = self._module.named_parameters(remove_duplicate=False)
        return {name: first[id(each)] for name, each in every if first.get(id(each), name) != name}

    def _made(self, seed: int) -> nn.Module:
        module = self._make(_seeded({}, seed, "initial"), **self._own.options)
        if not isinstance(module, nn.Module):
            raise InputError(f"{self._own.model} returned {type(module).__name__}, expected a torch.nn.Module")
        return module

    def _enter(self, values: Values, buffers: Values) -> None:
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(values[name])
            for name, value in buffers.items():
                path, _, last = name.rpartition(".")
                owner = self._module.get_submodule(path)
                if last in owner._buffers:
                    owner._buffers[last] = value.clone()
                else:
                    getattr(owner, last).copy_(value)

    def _buffers_after(self, before: Values) -> Values:
        after = _buffers(self._module)
        require_kept(before, after)
        return after

    def _checked(self, result: Any) -> tuple[Tensor, int | Tensor]:
        match result:
            case (Tensor() as loss, weight) if loss.ndim == 0 and loss.dtype == torch.float32:
                if isinstance(weight, Tensor) and weight.ndim == 0:
                    weight = weight.detach()
                    return loss, weight if weight.is_floating_point() else int(weight)
                if isinstance(weight, int | float):
                    return loss, weight if isinstance(weight, int) else torch.tensor(weight, dtype=torch.float32)
        raise InputError(
            f"{self._own.loss} must return (sum of losses, weight): a float32 scalar tensor and a number, "
            f"not {type(result).__name__}",
            hint="Sum the losses of the batch's records and count them; the division comes later, once.",
        )


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers, and parameters that ask for no gradient, by name."""
    frozen = {name: each.detach() for name, each in module.named_parameters() if not each.requires_grad}
    return frozen | dict(module.named_buffers())


def _generators(module: nn.Module) -> dict[str, torch.Generator]:
    """Generators that the module and its parts hold as attributes, by path."""
    return {
        f"{path}.{name}" if path else name: value
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, torch.Generator)
    }


def _cuda() -> tuple[torch.Generator, ...]:
    return tuple(torch.cuda.default_generators) if torch.cuda.is_available() else ()


def _seeded(generators: Mapping[str, torch.Generator], seed: int, *purpose: str | int) -> int:
    """Seed every generator of the process, and those given by path too; the 64-bit number that the default one got."""
    key = stream_key(seed, "own", *purpose)
    number = key.low | key.high << 32
    # The generator's own method: `torch.manual_seed` visits every device's module, which takes 250 times as long.
    torch.default_generator.manual_seed(number)
    for generator in _cuda():
        generator.manual_seed(number)
    for path, generator in generators.items():
        own = stream_key(seed, "own", *purpose, path)
        generator.manual_seed(own.low | own.high << 32)
    random.seed(number)
    np.random.seed(key.low)
    return number


def _batch(fields: Fields) -> Batch:
    """The fields as tensors, with `weight`."""
    count = len(next(iter(fields.values())))
    whole = {WEIGHT: np.ones(count, np.float32), **fields}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in whole.items()}
