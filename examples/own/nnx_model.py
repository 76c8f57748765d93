"""Your own Flax NNX module and loss: `kind = "own"`, `model = "nnx_model:model"`, `loss = "nnx_model:loss"`."""

import optax
from flax import nnx


def model(key, *, width=64):
    """The module before step 0. Streams like the dropout's get keys of their own before each step."""
    rngs = nnx.Rngs(key)
    return nnx.Sequential(
        *(nnx.Linear(784, width, rngs=rngs), nnx.BatchNorm(width, rngs=rngs), nnx.relu),
        *(nnx.Dropout(0.1, rngs=rngs), nnx.Linear(width, 10, rngs=rngs)),
    )


def loss(model, batch, key):
    """Sum of the losses and what it weighs; never a mean. `key` is None when the model is evaluated."""
    scores = model(batch["image"].reshape(len(batch["image"]), -1) / 255)
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"])
    return (losses * batch["weight"]).sum(), batch["weight"].sum()
