"""Every key of every random stream decides it: taking one out of a generator's input makes a test here fail."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import reprise_trainer
from reprise_trainer.backends import models
from reprise_trainer.backends.interface import ShardKey
from reprise_trainer.backends.models import Mlp, initial_values, kept_by_dropout
from reprise_trainer.data import augment, order
from reprise_trainer.data.augment import Augmentation
from reprise_trainer.data.order import Order

PACKAGE = Path(reprise_trainer.__file__).parent
MLP = Mlp((8, 8), 10, (16, 16), 0.5)
IMAGE = np.arange(1, 257, dtype=np.int64).reshape(1, 16, 16)


def dropout(seed: int = 1, step: int = 2, shard: int = 3, layer: int = 0) -> bytes:
    return kept_by_dropout(MLP, ShardKey(seed, step, shard), 16)[layer].tobytes()


def initial(seed: int = 1, name: str = "dense2.weight") -> bytes:
    values = initial_values(Mlp((4, 4), 16, (16, 16), 0.0), seed)  # all layers of one shape
    return values[name].tobytes()


def records(seed: int = 1, epoch: int = 0) -> bytes:
    return Order(seed, 300).records_at(300 * epoch, 300).tobytes()


def augmented(seed: int = 1, epoch: int = 0, record: int = 0) -> bytes:
    changed = Augmentation("image", shift=7, flip=True).apply(IMAGE, seed, np.array([epoch]), np.array([record]))
    return changed.tobytes()


STREAMS: Mapping[str, tuple[Callable[..., bytes], Mapping[str, Any]]] = {
    "dropout": (dropout, {"seed": 9, "step": 9, "shard": 9, "layer": 1}),
    "initial values": (initial, {"seed": 9, "name": "dense3.weight"}),
    "order": (records, {"seed": 9, "epoch": 1}),
    "augmentation": (augmented, {"seed": 9, "epoch": 5, "record": 5}),
}
"""Stream → how to draw from it, and another value of each of its keys."""

CASES = [(stream, key) for stream, (_, keys) in STREAMS.items() for key in keys]


@pytest.fixture(autouse=True)
def forget_blocks() -> Iterator[None]:
    """Blocks of an order are kept for a while: none of a changed generator may be."""
    order._block.cache_clear()
    yield
    order._block.cache_clear()


@pytest.mark.parametrize(("stream", "key"), CASES)
def test_each_key_decides_what_is_drawn(stream: str, key: str) -> None:
    draw, keys = STREAMS[stream]
    assert draw() == draw()
    assert draw(**{key: keys[key]}) != draw()


@pytest.mark.parametrize(
    ("stream", "key", "module", "name", "place"),
    [
        ("dropout", "seed", models, "stream_key", 0),
        ("dropout", "step", models, "stream_key", 2),
        ("dropout", "shard", models, "stream_key", 3),
        ("dropout", "layer", models, "stream_key", 4),
        ("initial values", "seed", models, "stream_key", 0),
        ("initial values", "name", models, "stream_key", 2),
        ("order", "seed", order, "_round_keys", 1),
        ("order", "epoch", order, "_round_keys", 2),
        ("augmentation", "seed", augment, "stream_key", 0),
    ],
)
def test_a_key_that_is_taken_out_is_missed(
    stream: str, key: str, module: ModuleType, name: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(module, name)

    def without(*parts: Any) -> Any:
        return real(*parts[:place], 0, *parts[place + 1 :])  # this key no longer reaches the generator

    monkeypatch.setattr(module, name, without)
    order._block.cache_clear()
    draw, keys = STREAMS[stream]
    assert draw(**{key: keys[key]}) == draw(), "the test above would not notice that this key is missing"


def test_every_stream_of_the_package_is_known() -> None:
    found = {
        (str(path.relative_to(PACKAGE)), node.func.id)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    users = {path for path, name in found if name in ("stream_key", "_round_keys")}
    assert users == {
        "backends/models.py",
        "data/augment.py",
        "data/order.py",
        "backends/torch_own.py",  # user models: test_own_models.py
        "backends/jax_own.py",
        "numerics/inputs.py",  # fixed inputs, no randomness of a run
    }
