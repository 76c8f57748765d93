"""Your own Equinox model and loss: `kind = "own"`, `model = "equinox_model:model"`, `loss = "equinox_model:loss"`."""

import equinox as eqx
import jax
import jax.numpy as jnp


def model(key, *, width=64):
    """The model before step 0: any tree of JAX arrays will do."""
    first, second = jax.random.split(key)
    return [eqx.nn.Linear(784, width, key=first), eqx.nn.Dropout(0.1), eqx.nn.Linear(width, 10, key=second)]


def loss(model, batch, key):
    """Sum of the losses and what it weighs; never a mean. `key` is None when the model is evaluated."""
    first, dropout, second = model
    hidden = jax.nn.relu(jax.vmap(first)(batch["image"].reshape(len(batch["image"]), -1) / 255))
    scores = jax.nn.log_softmax(jax.vmap(second)(dropout(hidden, key=key)))
    losses = -jnp.take_along_axis(scores, batch["label"][:, None].astype(int), axis=1)[:, 0]
    return (losses * batch["weight"]).sum(), batch["weight"].sum()
