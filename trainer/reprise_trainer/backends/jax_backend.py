"""JAX behind the backend interface.

One compiled program computes a shard's loss and gradients, and is called shard by shard (never scanned or mapped over
shards, which gives other bits). Additions and the optimizer run outside `jit`, one operation at a time: inside, XLA may
fuse a multiplication with an addition, and then the bits depend on the instruction set. JAX has no 64-bit values here;
what needs them (steps, exact integer sums) stays in NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from reprise_trainer.backends.interface import Loss, Optimizer, Predictions, ShardKey, Tensors
from reprise_trainer.backends.jax_models import record_losses, scores
from reprise_trainer.backends.models import Model, hidden_widths, kept_by_dropout, parameters
from reprise_trainer.backends.state_tensors import from_tensors, moments_of, to_tensors
from reprise_trainer.backends.update import Rounded, update
from reprise_trainer.data.batches import Fields
from reprise_trainer.errors import SystemFailureError


@dataclass(frozen=True, slots=True)
class JaxState:
    """Step, parameters and optimizer arrays (moment → parameter → array)."""

    step: int
    model: Mapping[str, Array]
    moments: Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class JaxSums:
    """Sums over the records of one or more shards; `loss` is a float32 scalar, `gradients` by parameter name."""

    loss: Array
    weight: int
    gradients: Mapping[str, Array]


class JaxBackend:
    """The CPU backend on JAX, for one model and one optimizer."""

    name = "jax"
    version = str(jax.__version__)

    def __init__(self, model: Model, optimizer: Optimizer) -> None:
        self._model = model
        self._optimizer = optimizer
        self._shapes = {each.name: each.shape for each in parameters(model)}
        self._loss_and_gradients = jax.jit(jax.value_and_grad(partial(_total_loss, model)))
        self._predict = jax.jit(partial(_predictions, model))

    def prepare(self, switches: Mapping[str, str], threads: int) -> None:
        """See `Backend.prepare`."""
        jax.config.update("jax_default_matmul_precision", "highest")
        found = {
            "platform": jax.default_backend(),
            "threads": os.environ.get("NPROC", ""),  # XLA sizes its pool by it, and cuts reductions by the pool
            "x64": str(bool(jax.config.jax_enable_x64)).lower(),
        }
        for name, expected in {**switches, "threads": str(threads)}.items():
            if found.get(name) != expected:
                raise SystemFailureError(
                    f"jax reports {name} {found.get(name)!r}, the profile asks for {expected!r}",
                    hint="The CPU or this build of jax cannot keep the profile; nothing was trained.",
                )

    def initial(self, values: Tensors) -> JaxState:
        """See `Backend.initial`."""
        moments = {
            moment: {name: jnp.zeros(shape, jnp.float32) for name, shape in self._shapes.items()}
            for moment in moments_of(self._optimizer)
        }
        return JaxState(0, _copied({name: values[name] for name in self._shapes}), moments)

    def shard_sums(self, state: JaxState, fields: Fields, key: ShardKey) -> JaxSums:
        """See `Backend.shard_sums`."""
        images, labels = _arrays(fields)
        kept = []
        if self._model.dropout > 0:
            layers = range(1, len(hidden_widths(self._model)) + 1)
            kept = [kept_by_dropout(self._model, key, layer, len(labels)) for layer in layers]
        loss, gradients = self._loss_and_gradients(state.model, images, labels, kept)
        return JaxSums(loss, len(labels), gradients)

    def add(self, left: JaxSums, right: JaxSums) -> JaxSums:
        """See `Backend.add`."""
        gradients = {name: left.gradients[name] + right.gradients[name] for name in self._shapes}
        return JaxSums(left.loss + right.loss, left.weight + right.weight, gradients)

    def loss(self, sums: JaxSums) -> Loss:
        """See `Backend.loss`."""
        return Loss(float(sums.loss), sums.weight)

    def gradient_sums(self, sums: JaxSums) -> dict[str, int]:
        """See `Backend.gradient_sums`."""
        arrays = {name: np.asarray(sums.gradients[name]) for name in self._shapes}
        return {name: int(array.view(np.int32).sum(dtype=np.int64)) for name, array in arrays.items()}

    def apply(self, state: JaxState, sums: JaxSums, rate: float) -> JaxState:
        """See `Backend.apply`."""
        step = state.step + 1
        model: dict[str, Array] = {}
        moments: dict[str, dict[str, Array]] = {moment: {} for moment in state.moments}
        for name in self._shapes:
            old = {moment: arrays[name] for moment, arrays in state.moments.items()}
            mean = _ROUNDED.divide(sums.gradients[name], sums.weight)
            model[name], new = update(
                self._optimizer, state.model[name], mean, old, rate=rate, step=step, rounded=_ROUNDED
            )
            for moment, array in new.items():
                moments[moment][name] = array
        return JaxState(step, model, moments)

    def predict(self, state: JaxState, fields: Fields) -> Predictions:
        """See `Backend.predict`."""
        result, losses = self._predict(state.model, *_arrays(fields))
        return Predictions(np.asarray(result), np.asarray(losses))

    def export(self, state: JaxState) -> dict[str, NDArray[Any]]:
        """See `Backend.export`."""
        moments = {moment: _numpy(arrays) for moment, arrays in state.moments.items()}
        return to_tensors(state.step, _numpy(state.model), moments)

    def load(self, tensors: Tensors) -> JaxState:
        """See `Backend.load`."""
        step, model, moments = from_tensors(tensors, self._shapes, self._optimizer)
        return JaxState(step, _copied(model), {moment: _copied(values) for moment, values in moments.items()})


def _total_loss(model: Model, values: Mapping[str, Array], images: Array, labels: Array, kept: list[Array]) -> Array:
    return record_losses(scores(model, values, images, kept), labels).sum()


def _predictions(model: Model, values: Mapping[str, Array], images: Array, labels: Array) -> tuple[Array, Array]:
    result = scores(model, values, images, ())
    return result, record_losses(result, labels)


def _arrays(fields: Fields) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images uint8 (records, height, width) and labels int32 (records,)."""
    return np.ascontiguousarray(fields["image"]), fields["label"].astype(np.int32)


def _copied(arrays: Tensors) -> dict[str, Array]:
    return {name: jnp.array(array, copy=True) for name, array in arrays.items()}


def _numpy(arrays: Mapping[str, Array]) -> dict[str, NDArray[Any]]:
    return {name: np.array(array, copy=True) for name, array in arrays.items()}


# XLA turns a division by one number into a multiplication by its reciprocal, which rounds twice: so the number is
# spread out first, by an operation of its own.
_ROUNDED = Rounded(sqrt=jnp.sqrt, divide=lambda x, number: x / jnp.full_like(x, number))
