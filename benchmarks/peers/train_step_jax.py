"""JAX's contender of `train_step.py`: a hand-written loop of one compiled step with Optax's AdamW."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from reprise_trainer.backends.jax_gpt import gpt_scores
from reprise_trainer.backends.jax_layers import cross_entropies, image_scores
from reprise_trainer.backends.models import Cnn, Gpt, initial_values


def plain_loop(name: str, arrays: Mapping[str, Any], batch_size: int) -> Callable[[int], None]:
    """What one writes by hand; the forward pass is the trainer's own."""
    model: Any = Gpt(65, 64, 4, 4, 128, 0.0, True) if name == "gpt" else Cnn((28, 28), 10, (32, 64), 128, 0.0)
    optimizer = optax.adamw(1e-3, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.1)
    draws = np.random.default_rng(1)

    def loss(values: Any, inputs: Any, labels: Any) -> Any:
        forward = gpt_scores if name == "gpt" else image_scores
        return cross_entropies(forward(model, values, inputs, (), precision="float32"), labels).mean()

    @jax.jit
    def step(values: Any, state: Any, inputs: Any, labels: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(values, inputs, labels)
        updates, state = optimizer.update(gradients, state, values)
        return optax.apply_updates(values, updates), state, value

    values: Any = initial_values(model, 1)
    state = optimizer.init(values)

    def turn(count: int) -> None:
        nonlocal values, state
        for _ in range(count):
            chosen = draws.integers(0, len(next(iter(arrays.values()))), batch_size)
            if name == "gpt":
                tokens = arrays["tokens"][chosen].astype(np.int32)
                inputs, labels = tokens[:, :-1], tokens[:, 1:]
            else:
                inputs, labels = arrays["image"][chosen], arrays["label"][chosen].astype(np.int32)
            values, state, value = step(values, state, inputs, labels)
            float(value)

    return turn
