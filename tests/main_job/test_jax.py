"""The environment of JAX: its image measures itself, and JAX, Flax and Optax work on its read-only root."""

from __future__ import annotations

import json
from pathlib import Path

from commands import run_image, with_program

from reprise.build import BuiltImage
from reprise.project import Project
from reprise.store import Store
from reprise.train import Launcher, train
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from tests.main_job.conftest import CHECKOUT

CONFIG = "[run]\nprofile = 'x86-64-v3'\nthreads = 1\n"

PROGRAM = """
import sys
from reprise_trainer.errors import RepriseError
from reprise_trainer.identity.start import verify_end, verify_identity

try:
    identity = verify_identity()
except RepriseError as error:
    sys.exit(str(error))
print(identity.digest)

import flax.linen as nn
import jax, jaxlib
import jax.numpy as jnp
import optax

print(jax.__version__, jaxlib.__version__, jax.devices()[0].platform)
model, x, y = nn.Dense(1), jnp.arange(8.0).reshape(4, 2), jnp.ones((4, 1))
loss = lambda weights: jnp.mean((model.apply(weights, x) - y) ** 2)
weights = model.init(jax.random.key(0), x)
optimizer = optax.sgd(0.01)
state, before = optimizer.init(weights), loss(weights)
for _ in range(20):
    changes, state = optimizer.update(jax.jit(jax.grad(loss))(weights), state)
    weights = optax.apply_updates(weights, changes)
print(bool(loss(weights) < before))

verify_end(identity)
"""


def test_the_trainer_measures_the_image_as_what_was_built(shared_store: Store, jax_cpu: BuiltImage) -> None:
    """The image's own command; it has no key to sign a record with, so it refuses to train, after it has measured."""
    outcome = run_image(shared_store, jax_cpu.digest, config=CONFIG)
    measured, refused = map(json.loads, outcome.lines)
    assert (measured["event"], measured["image"]) == ("measured", jax_cpu.digest)
    assert measured["files"] > 5000
    assert (refused["event"], outcome.code) == ("refused", 78)


def test_a_compiled_gradient_runs_and_loads_nothing_from_outside_the_image(
    shared_store: Store, jax_cpu: BuiltImage
) -> None:
    digest = with_program(shared_store, jax_cpu, PROGRAM)
    outcome = run_image(shared_store, digest)
    assert (outcome.code, outcome.errors) == (0, [])
    assert outcome.lines == [digest, "0.10.2 0.10.2 cpu", "True"]


def test_a_run_measures_its_image_and_has_the_same_bits_twice(
    project: Project, shared_store: Store, jax_cpu: BuiltImage, tmp_path: Path
) -> None:
    key = make_key()
    sign_image(shared_store, jax_cpu.digest, "jax-cpu", key)
    launcher = Launcher(shared_store, key, own_policy(key.public_key()))
    text = (CHECKOUT / "examples" / "fashion-mnist-jax.toml").read_text()
    assert "epochs = 2" in text
    config = tmp_path / "run.toml"
    config.write_text(text.replace("epochs = 2", "steps = 20").replace("every = 235", "every = 20"))
    first, second = (train(config, launcher, project, output=tmp_path / name) for name in ("first", "second"))
    assert first.image_digest == first.measured_digest == jax_cpu.digest
    assert (first.ledger_head, first.state_digest) == (second.ledger_head, second.state_digest)
