"""Models of JAX libraries as named arrays, and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, tree_util

from reprise_trainer.backends.buffers import require_kept
from reprise_trainer.backends.interface import Tensors
from reprise_trainer.errors import InputError

Values = Mapping[str, Array]


class Tree(Protocol):
    """A model taken apart. Names are the paths of its arrays, joined by dots."""

    streams: tuple[str, ...]
    """Random streams inside the model, each of which needs a key."""

    def arrays(self) -> tuple[Tensors, Tensors]:
        """Parameters and buffers, as NumPy arrays."""

    def model(self, values: Values, buffers: Values, keys: Values | None) -> Any:
        """The model with these arrays and with these streams' keys; without keys, in its form for evaluation."""

    def buffers_after(self, model: Any, buffers: Values) -> Values:
        """The buffers of a model that has just been used; `buffers` are those before."""


class NnxTree:
    """A Flax NNX module: `nnx.Param` are parameters, other variables but random streams are buffers."""

    def __init__(self, model: Any) -> None:
        from flax import nnx

        self._nnx = nnx
        model.eval()
        self._evaluating = self._split(model)[0]
        model.train()
        self._training, parameters, streams, rest = self._split(model)
        self._parameters, self._rest = _named(parameters), _named(rest)
        self._random = _named(streams)
        self._trees = tuple(tree_util.tree_structure(each) for each in (parameters, streams, rest))
        self.streams = tuple(name for name, each in self._random.items() if _is_key(each))

    def _split(self, model: Any) -> Any:
        """Definition of the graph, parameters, random streams, and all other variables."""
        return self._nnx.split(model, self._nnx.Param, self._nnx.RngState, ...)

    def arrays(self) -> tuple[Tensors, Tensors]:
        """See `Tree.arrays`."""
        return _numpy(self._parameters), _numpy(self._rest)

    def model(self, values: Values, buffers: Values, keys: Values | None) -> Any:
        """See `Tree.model`."""
        random = [_rekeyed(old, None if keys is None else keys.get(name)) for name, old in self._random.items()]
        leaves = ([values[name] for name in self._parameters], random, [buffers[name] for name in self._rest])
        states = (tree_util.tree_unflatten(tree, each) for tree, each in zip(self._trees, leaves, strict=True))
        return self._nnx.merge(self._evaluating if keys is None else self._training, *states)

    def buffers_after(self, model: Any, buffers: Values) -> Values:
        """See `Tree.buffers_after`."""
        after = _named(self._split(model)[3])
        require_kept(buffers, after)
        return after


class PlainTree:
    """Any tree that JAX knows: floating-point arrays are parameters, other arrays buffers that stay, the rest fixed."""

    streams: tuple[str, ...] = ()

    def __init__(self, model: Any) -> None:
        equinox = sys.modules.get("equinox")
        evaluating = equinox.nn.inference_mode(model) if equinox is not None else model
        self._tree = tree_util.tree_structure(model)
        self._training = {_name(path): leaf for path, leaf in tree_util.tree_flatten_with_path(model)[0]}
        self._evaluating = {_name(path): leaf for path, leaf in tree_util.tree_flatten_with_path(evaluating)[0]}
        arrays = {name: leaf for name, leaf in self._training.items() if isinstance(leaf, Array | np.ndarray)}
        self._parameters = {name: leaf for name, leaf in arrays.items() if jnp.issubdtype(leaf.dtype, jnp.floating)}
        self._rest = {name: leaf for name, leaf in arrays.items() if name not in self._parameters}
        if not self._parameters:
            raise InputError(f"the model, a {type(model).__name__}, has no parameters: no floating-point JAX array")

    def arrays(self) -> tuple[Tensors, Tensors]:
        """See `Tree.arrays`."""
        return _numpy(self._parameters), _numpy(self._rest)

    def model(self, values: Values, buffers: Values, keys: Values | None) -> Any:
        """See `Tree.model`."""
        leaves = {**(self._evaluating if keys is None else self._training), **values, **buffers}
        return tree_util.tree_unflatten(self._tree, [leaves[name] for name in self._training])

    def buffers_after(self, model: Any, buffers: Values) -> Values:
        """See `Tree.buffers_after`."""
        return buffers


def _named(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in tree_util.tree_flatten_with_path(tree)[0]}


def _name(path: tuple[Any, ...]) -> str:
    """`layers.0.weight`, from JAX's key path; NNX's innermost part, the variable's own value, is left out."""
    parts = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
    return ".".join(part for part in parts if part not in ("value", ".value"))


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _rekeyed(old: Any, key: Array | None) -> Any:
    """A stream's key or count at its start: `key`, split where one stream has several; a count is zero."""
    if not _is_key(old):
        return jnp.zeros_like(old)
    if key is None:
        return old
    return jax.random.split(key, old.shape) if old.shape else key


def _numpy(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: np.array(array) for name, array in arrays.items()}
