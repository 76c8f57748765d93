"""The built-in models in JAX, compiled from functions of named parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from reprise_trainer.backends.interface import WEIGHT, Predictions, ShardKey, Tensors
from reprise_trainer.backends.jax_gpt import gpt_scores
from reprise_trainer.backends.jax_layers import cross_entropies, image_scores
from reprise_trainer.backends.jax_program import JaxSums, Values, compiled_gradient
from reprise_trainer.backends.layout import layout_of
from reprise_trainer.backends.models import (
    BuiltIn,
    Gpt,
    Precision,
    aliases,
    initial_values,
    kept_by_dropout,
    parameters,
    random_streams,
)
from reprise_trainer.data.batches import Fields


class BuiltInProgram:
    """See `JaxProgram`."""

    def __init__(self, model: BuiltIn, precision: Precision) -> None:
        self._model = model
        self._precision = precision
        self.layout = layout_of({each.name: each.shape for each in parameters(model)})
        self.buffers: Tensors = {}
        self._gradient = compiled_gradient(self.layout, self._total_loss)
        self._predict = jax.jit(self._predictions)

    def initial(self, seed: int) -> tuple[Tensors, Tensors]:
        """See `JaxProgram.initial`."""
        return initial_values(self._model, seed), {}

    def shard(self, vector: Array, buffers: Values, fields: Fields, key: ShardKey) -> JaxSums:
        """See `JaxProgram.shard`."""
        inputs, labels = _arrays(self._model, fields)
        weights = fields.get(WEIGHT)
        kept = kept_by_dropout(self._model, key, len(labels))
        loss, weight, gradient = self._gradient(vector, inputs, labels, kept, weights)
        return JaxSums(loss, labels.size if weights is None else weight, gradient, {})

    def predict(self, vector: Array, buffers: Values, fields: Fields) -> Predictions:
        """See `JaxProgram.predict`."""
        inputs, labels = _arrays(self._model, fields)
        scores, losses = self._predict(vector, inputs, labels)
        weights = np.asarray(fields.get(WEIGHT, np.ones(len(labels))), np.float32)
        each = weights * math.prod(labels.shape[1:])
        return Predictions(np.asarray(losses) * weights, each, np.asarray(scores), labels)

    def random_streams(self) -> dict[str, str]:
        """See `JaxProgram.random_streams`."""
        return random_streams(self._model)

    def aliases(self) -> dict[str, str]:
        """See `JaxProgram.aliases`."""
        return aliases(self._model)

    def _scores(self, values: Values, inputs: Array, kept: Sequence[Array]) -> Array:
        if isinstance(self._model, Gpt):
            return gpt_scores(self._model, values, inputs, kept, precision=self._precision)
        return image_scores(self._model, values, inputs, kept, precision=self._precision)

    def _total_loss(
        self, values: Values, inputs: Array, labels: Array, kept: Sequence[Array], weights: Array | None
    ) -> tuple[Array, Array | None]:
        losses = cross_entropies(self._scores(values, inputs, kept), labels)
        if weights is None:
            return losses.sum(), None
        each = weights.reshape(-1, *[1] * (labels.ndim - 1))
        return (losses * each).sum(), weights.sum() * math.prod(labels.shape[1:])

    def _predictions(self, vector: Array, inputs: Array, labels: Array) -> tuple[Array, Array]:
        scores = self._scores(self.layout.views(vector), inputs, ())
        return scores, cross_entropies(scores, labels).reshape(len(labels), -1).sum(axis=1)


def _arrays(model: BuiltIn, fields: Fields) -> tuple[NDArray[Any], NDArray[Any]]:
    """Images uint8 (records, height, width) and labels int32 (records,); or tokens int32 (records, block) and those
    that follow them."""
    if isinstance(model, Gpt):
        tokens = fields["tokens"].astype(np.int32)
        return tokens[:, :-1], tokens[:, 1:]
    return np.ascontiguousarray(fields["image"]), fields["label"].astype(np.int32)
