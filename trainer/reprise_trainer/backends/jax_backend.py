"""JAX behind the backend interface.

One compiled program computes a shard's loss and gradients, and is called shard by shard (never scanned or mapped over
shards, which gives other bits). JAX has no 64-bit values here; what needs them (steps, exact integer sums) stays in
NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from reprise_trainer.backends import jax_switches
from reprise_trainer.backends.freed_memory import keep_freed_memory
from reprise_trainer.backends.interface import Loss, Predictions, Recipe, ShardKey, Tensors
from reprise_trainer.backends.jax_models import BuiltInProgram
from reprise_trainer.backends.jax_own import OwnProgram
from reprise_trainer.backends.jax_program import JaxProgram, JaxSums
from reprise_trainer.backends.jax_trace import primitives_of
from reprise_trainer.backends.jax_update import added, next_state
from reprise_trainer.backends.models import Model, Own
from reprise_trainer.backends.state_tensors import TrainingState, from_tensors, moments_of, to_tensors
from reprise_trainer.data.batches import Fields
from reprise_trainer.errors import InputError


class JaxBackend:
    """The CPU backend on JAX, for one model and one recipe."""

    name = "jax"
    version = str(jax.__version__)

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self._program: JaxProgram
        self._program = OwnProgram(model) if isinstance(model, Own) else BuiltInProgram(model, recipe.precision)
        self._recipe = recipe
        self._layout = self._program.layout

    def prepare(self, switches: Mapping[str, str], threads: int) -> tuple[str, ...]:
        """See `Backend.prepare`."""
        keep_freed_memory()
        return jax_switches.prepare(switches, threads)

    def operations(self, state: TrainingState, fields: Fields, key: ShardKey) -> frozenset[str]:
        """See `Backend.operations`."""

        def gradient(model: Array) -> Array:
            return self.shard_sums(replace(state, model=model), fields, key).gradient

        return primitives_of(gradient, state.model)

    def random_streams(self) -> dict[str, str]:
        """See `Backend.random_streams`."""
        return self._program.random_streams()

    def aliases(self) -> dict[str, str]:
        """See `Backend.aliases`."""
        return self._program.aliases()

    def initial(self, seed: int) -> TrainingState:
        """See `Backend.initial`."""
        values, buffers = self._program.initial(seed)
        model = jnp.array(self._layout.pack(values))
        moments = {moment: jnp.zeros_like(model) for moment in moments_of(self._recipe.optimizer)}
        average = None if self._recipe.ema_decay is None else model
        return TrainingState(0, model, _copied(buffers), moments, average)

    def shard_sums(self, state: TrainingState, fields: Fields, key: ShardKey) -> JaxSums:
        """See `Backend.shard_sums`."""
        return self._program.shard(state.model, state.buffers, fields, key)

    def add(self, left: JaxSums, right: JaxSums) -> JaxSums:
        """See `Backend.add`."""
        buffers = {name: _joined(name, value, right.buffers[name]) for name, value in left.buffers.items()}
        gradient = added(left.gradient, right.gradient)
        return JaxSums(left.loss + right.loss, left.weight + right.weight, gradient, buffers)

    def loss(self, sums: JaxSums) -> Loss:
        """See `Backend.loss`."""
        return Loss(float(sums.loss), _number(sums.weight))

    def gradient_sums(self, sums: JaxSums) -> dict[str, int]:
        """See `Backend.gradient_sums`."""
        return self._layout.bit_sums(np.asarray(sums.gradient))

    def sums_tensors(self, sums: JaxSums) -> dict[str, NDArray[Any]]:
        """See `Backend.sums_tensors`."""
        tensors = {"loss": sums.loss, "weight": sums.weight, "gradient": sums.gradient}
        tensors |= {f"buffer/{name}": value for name, value in sums.buffers.items()}
        return {name: np.asarray(tensor) for name, tensor in tensors.items()}

    def load_sums(self, tensors: Tensors) -> JaxSums:
        """See `Backend.load_sums`."""
        weight = tensors["weight"]
        buffers = {name.removeprefix("buffer/"): each for name, each in tensors.items() if name.startswith("buffer/")}
        return JaxSums(
            jnp.array(tensors["loss"]),
            int(weight) if np.issubdtype(weight.dtype, np.integer) else jnp.array(weight),
            jnp.array(tensors["gradient"]),
            _copied(buffers),
        )

    def is_finite(self, sums: JaxSums) -> bool:
        """See `Backend.is_finite`."""
        gradient = np.asarray(sums.gradient)
        # One pass over memory; a sum of finite numbers may overflow, so only a finite one is an answer.
        return bool(np.isfinite(gradient.sum())) or bool(np.isfinite(gradient).all())

    def gradient_norms(self, sums: JaxSums) -> dict[str, float]:
        """See `Backend.gradient_norms`."""
        mean = np.asarray(sums.gradient).astype(np.float64) / _number(sums.weight)
        return {name: float(np.sqrt((view * view).sum())) for name, view in self._layout.views(mean).items()}

    def apply(self, state: TrainingState, sums: JaxSums, rate: float) -> TrainingState:
        """See `Backend.apply`."""
        new = next_state(state, sums.gradient, _number(sums.weight), self._recipe, rate)
        return TrainingState(new.step, new.model, sums.buffers, new.moments, new.average)

    def predict(self, state: TrainingState, fields: Fields) -> Predictions:
        """See `Backend.predict`."""
        return self._program.predict(state.weights, state.buffers, fields)

    def export(self, state: TrainingState) -> dict[str, NDArray[Any]]:
        """See `Backend.export`."""
        moments = {name: np.asarray(vector) for name, vector in state.moments.items()}
        buffers = {name: np.asarray(value) for name, value in state.buffers.items()}
        average = None if state.average is None else np.asarray(state.average)
        return to_tensors(self._layout, TrainingState(state.step, np.asarray(state.model), buffers, moments, average))

    def load(self, tensors: Tensors) -> TrainingState:
        """See `Backend.load`."""
        read = from_tensors(tensors, self._layout, self._program.buffers, self._recipe)
        average = None if read.average is None else jnp.array(read.average)
        return TrainingState(
            read.step, jnp.array(read.model), _copied(read.buffers), dict(_copied(read.moments)), average
        )


def _joined(name: str, left: Array, right: Array) -> Array:
    """The mean of two shards' buffers. Elements of equal bits stay, frozen weights among them: a half of the smallest
    numbers is not exact. The others are halved first, so that large ones don't overflow."""
    if jnp.issubdtype(left.dtype, jnp.floating):
        return jnp.where(_bits(left) == _bits(right), left, left * 0.5 + right * 0.5)
    if not bool((left == right).all()):
        raise InputError(
            f"buffer {name!r} differs between shards, and {left.dtype} values have no mean",
            hint="An integer buffer may count steps, but not depend on a shard's records.",
        )
    return left


def _bits(array: Array) -> Array:
    return jax.lax.bitcast_convert_type(array, jnp.dtype(f"int{8 * array.dtype.itemsize}"))


def _number(weight: int | Array) -> float:
    return weight if isinstance(weight, int) else float(weight)


def _copied(arrays: Tensors) -> dict[str, Array]:
    return {name: jnp.array(array, copy=True) for name, array in arrays.items()}
