"""Keras 3 on torch: set_random_seed, fit, BackupAndRestore."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
from task import (
    BATCH,
    CHANNELS,
    CHECKPOINT_EVERY,
    CLASSES,
    DROPOUT,
    HIDDEN,
    LEARNING_RATE,
    RECORDS,
    SEED,
    STEPS,
    arguments,
    finish,
    load,
    say,
)


class Say(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        done = int(self.model.optimizer.iterations.numpy())
        say(done)
        if done >= STEPS:
            self.model.stop_training = True


def main() -> None:
    asked = arguments()
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            *(layers.Conv2D(CHANNELS[0], 3, padding="same", activation="relu"), layers.MaxPooling2D()),
            *(layers.Conv2D(CHANNELS[1], 3, padding="same", activation="relu"), layers.MaxPooling2D()),
            *(
                layers.Flatten(),
                layers.Dense(HIDDEN, activation="relu"),
                layers.Dropout(DROPOUT),
                layers.Dense(CLASSES),
            ),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.AdamW(LEARNING_RATE), loss=loss)
    images, labels = load(asked.data)
    images = images[..., None].astype("float32") / 255 - 0.5
    backup = keras.callbacks.BackupAndRestore(
        str(asked.out / "backup"), save_freq=CHECKPOINT_EVERY, delete_checkpoint=False
    )
    epochs = -(-STEPS * BATCH // RECORDS)
    model.fit(images, labels, batch_size=BATCH, epochs=epochs, shuffle=True, verbose=0, callbacks=[backup, Say()])
    weights = {f"model/{each.path}": each.numpy() for each in model.weights}
    finish(asked.out, {**weights, **{f"optimizer/{each.path}": each.numpy() for each in model.optimizer.variables}})


if __name__ == "__main__":
    main()
