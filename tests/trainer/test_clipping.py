"""Clipping: a gradient that is too long becomes as long as it may be, however long it was; others keep their bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from reprise_trainer.backends.interface import Recipe, Sgd
from reprise_trainer.backends.jax_backend import JaxBackend
from reprise_trainer.backends.layout import layout_of
from reprise_trainer.backends.models import Mlp, parameters
from reprise_trainer.backends.torch_backend import TorchBackend
from reprise_trainer.training.checkpoints.state_digest import state_digest

MODEL = Mlp((28, 28), 10, (8,), 0.0)
LAYOUT = layout_of({each.name: each.shape for each in parameters(MODEL)})
LIMIT = 0.5
BACKENDS = [TorchBackend, JaxBackend]


def stepped(kind: type[TorchBackend | JaxBackend], gradient: Any, limit: float | None = LIMIT) -> Any:
    """The state after one step of plain descent at rate 1: it moves by the clipped gradient of the mean loss."""
    backend = kind(MODEL, Recipe(Sgd(0.0, 0.0), clip_norm=limit))
    sums = backend.load_sums({"loss": np.float32(1), "weight": np.int64(4), "gradient": gradient})
    return backend.export(backend.apply(backend.initial(3), sums, 1.0))


def moved(kind: type[TorchBackend | JaxBackend], gradient: Any) -> float:
    """How far that step goes."""
    velocity = [each for name, each in stepped(kind, gradient).items() if name.startswith("optimizer/velocity/")]
    return math.sqrt(sum(float((each.astype(np.float64) ** 2).sum()) for each in velocity))


def drawn(scale: float) -> Any:
    random = np.random.default_rng(1)
    return LAYOUT.pack({name: np.float32(random.normal(size=shape) * scale) for name, shape in LAYOUT.shapes.items()})


@pytest.mark.parametrize("kind", BACKENDS)
@pytest.mark.parametrize("scale", [1.0, 1e10, 1e18, 1e25, 1e36])
def test_a_long_gradient_becomes_as_long_as_it_may_be(kind: type[TorchBackend | JaxBackend], scale: float) -> None:
    assert math.isclose(moved(kind, drawn(scale)), LIMIT, rel_tol=1e-5)


@pytest.mark.parametrize("gradient", [drawn(1e-6), drawn(0.0)])
@pytest.mark.parametrize("kind", BACKENDS)
def test_a_short_gradient_keeps_its_bits(kind: type[TorchBackend | JaxBackend], gradient: Any) -> None:
    assert state_digest(stepped(kind, gradient)) == state_digest(stepped(kind, gradient, limit=None))


@pytest.mark.parametrize("scale", [1.0, 1e25])
def test_every_backend_clips_to_the_same_bits(scale: float) -> None:
    one, other = (state_digest(stepped(kind, drawn(scale))) for kind in BACKENDS)
    assert one == other
