"""A user's JAX model behind the backend interface: a Flax NNX module, or any tree of arrays such as Equinox's.

Both become trees of arrays that one compiled program takes as inputs: nothing of the model outlives a shard but what
the program returns. NNX keeps its random streams inside the module; each is given a key of its own before the gradient,
by (seed, step, shard, path); in an evaluation they are those of the module that was made from a fixed key. Other trees
draw from the `key` that their loss is given.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from reprise_trainer.backends.buffers import require_stored
from reprise_trainer.backends.interface import WEIGHT, Predictions, ShardKey, Tensors
from reprise_trainer.backends.jax_program import JaxSums, Values, compiled_gradient
from reprise_trainer.backends.jax_trees import NnxTree, PlainTree, Tree
from reprise_trainer.backends.layout import layout_of
from reprise_trainer.backends.models import EVALUATION, EVALUATION_KEYED, Own
from reprise_trainer.data.batches import Fields
from reprise_trainer.data.philox import stream_key
from reprise_trainer.entry_point import load_entry_point, require_options
from reprise_trainer.errors import InputError


class OwnProgram:
    """See `JaxProgram`.

    Raises:
        InputError: an entry point can't be loaded, or doesn't keep the contract.
    """

    def __init__(self, own: Own) -> None:
        self._own = own
        self._make = load_entry_point(own.model, where="model.model")
        require_options(self._make, None, options=own.options, where="model.options")
        self._loss: Callable[..., Any] = load_entry_point(own.loss, where="model.loss")
        self._tree = self._made(0)
        values, self.buffers = self._tree.arrays()
        for name, value in values.items():
            if value.dtype != np.float32:
                raise InputError(f"{own.model}: parameter {name!r} is {value.dtype}; weights are kept in float32")
        require_stored(own.model, self.buffers)
        self.layout = layout_of({name: value.shape for name, value in values.items()})
        self._gradient = compiled_gradient(self.layout, self._training_loss)
        self._evaluate = jax.jit(self._evaluation_loss)

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """See `JaxProgram.initial`."""
        return self._made(seed).arrays()

    def shard(self, vector: Array, buffers: Values, fields: Fields, key: ShardKey) -> JaxSums:
        """See `JaxProgram.shard`."""
        keys = {
            name: _key_data(key.seed, "own", "shard", key.step, key.shard, *([name] if name else []))
            for name in ("", *self._tree.streams)
        }
        loss, (weight, after), gradient = self._gradient(vector, dict(buffers), _batch(fields), keys)
        return JaxSums(loss, weight, gradient, after)

    def predict(self, vector: Array, buffers: Values, fields: Fields) -> Predictions:
        """See `JaxProgram.predict`."""
        loss, weight = self._evaluate(vector, dict(buffers), _batch(fields))
        return Predictions(np.asarray(loss).reshape(1), np.asarray(weight, np.float32).reshape(1))

    def random_streams(self) -> dict[str, str]:
        """See `JaxProgram.random_streams`."""
        streams = {"initial": "seed", "key": "seed, step, shard"}
        if self._tree.streams:
            streams[EVALUATION] = EVALUATION_KEYED
        return streams | dict.fromkeys(self._tree.streams, "seed, step, shard, path")

    def aliases(self) -> dict[str, str]:
        """See `Backend.aliases`. NNX keeps a shared parameter once, under its first name; other trees hold no two."""
        return {}

    def _made(self, seed: int) -> Tree:
        model = self._make(_key(_key_data(seed, "own", "initial")), **self._own.options)
        nnx = sys.modules.get("flax.nnx")
        return NnxTree(model) if nnx is not None and isinstance(model, nnx.Module) else PlainTree(model)

    def _training_loss(
        self, values: Values, buffers: Values, batch: Values, keys: Values
    ) -> tuple[Array, tuple[Array, Values]]:
        typed = {name: _key(data) for name, data in keys.items()}
        model = self._tree.model(values, buffers, typed)
        loss, weight = self._checked(self._loss(model, batch, typed[""]))
        return loss, (weight, self._tree.buffers_after(model, buffers))

    def _evaluation_loss(self, vector: Array, buffers: Values, batch: Values) -> tuple[Array, Array]:
        model = self._tree.model(self.layout.views(vector), buffers, None)
        return self._checked(self._loss(model, batch, None))

    def _checked(self, result: Any) -> tuple[Array, Array]:
        match result:
            case (loss, weight) if getattr(loss, "shape", None) == () and jnp.isdtype(loss.dtype, "real floating"):
                number = jnp.asarray(weight)
                if number.shape == ():
                    return loss.astype(jnp.float32), jax.lax.stop_gradient(number)
        raise InputError(
            f"{self._own.loss} must return (sum of losses, weight): a floating-point scalar and a number, "
            f"not {type(result).__name__}",
            hint="Sum the losses of the batch's records and count them; the division comes later, once.",
        )


def _key_data(seed: int, *purpose: str | int) -> Any:
    key = stream_key(seed, *purpose)
    return np.array([key.low, key.high], np.uint32)


def _key(data: Any) -> Array:
    """A typed JAX key of Threefry from two 32-bit words, which are the whole of such a key."""
    return jax.random.wrap_key_data(jnp.asarray(data), impl="threefry2x32")


def _batch(fields: Fields) -> dict[str, Any]:
    """The fields, with `weight`."""
    count = len(next(iter(fields.values())))
    return {WEIGHT: np.ones(count, np.float32), **fields}
