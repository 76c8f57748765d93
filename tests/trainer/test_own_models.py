"""A user's own model: the three examples, the contract of sums and weights, and random streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainer.conftest import CONFIG, RunOnce
from torch.utils.checkpoint import checkpoint

import reprise_trainer
from reprise_trainer.backends.interface import WEIGHT, ShardKey
from reprise_trainer.backends.models import Own
from reprise_trainer.config.read import read_config
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.evaluation.judged import judge
from reprise_trainer.training.checkpoints.state_digest import state_digest
from reprise_trainer.training.loop import first_state, steps
from reprise_trainer.training.plan import make_backend, make_plan
from reprise_trainer.training.tree import tree_sum

from .own_models import EXAMPLES, KINDS, example, held, plan, trained

IMPORTABLE = {"PYTHONPATH": f"{Path(reprise_trainer.__file__).parents[1]}:{EXAMPLES / 'own'}"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "own")
    torch.set_num_threads(1)


@pytest.fixture
def batches(snapshot: OpenSnapshot) -> Batches:
    return Batches(snapshot, "train", seed=1, batch_size=32)


@pytest.mark.parametrize("name", KINDS)
def test_the_examples_have_twenty_lines(name: str) -> None:
    lines = (EXAMPLES / "own" / f"{name}.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 20


@pytest.mark.parametrize("name", KINDS)
def test_an_example_gives_the_same_bits_again_with_other_workers_and_after_a_resume(
    name: str, batches: Batches, snapshot: OpenSnapshot
) -> None:
    asked, backend = example(name)
    whole = list(steps(asked, backend, batches, first_state(asked, backend), 0))
    again, other = example(name)
    threads = trained(again, other, batches, workers=3)
    assert state_digest(other.export(threads)) == state_digest(backend.export(whole[-1].state))

    saved = {each: value.copy() for each, value in backend.export(whole[2].state).items()}
    *_, resumed = steps(asked, other, batches, other.load(saved), 3)
    assert state_digest(other.export(resumed.state)) == state_digest(backend.export(whole[-1].state))
    assert whole[-1].reading.read().loss < whole[0].reading.read().loss

    section = read_config(CONFIG.encode(), where="test").evaluate
    one, two = (judge(section, snapshot, backend, whole[-1].state, trained_on="train") for _ in range(2))
    assert one.metrics() == two.metrics() and 0 < one.tally.loss < 10


OWN_CONFIG = (
    CONFIG[: CONFIG.index("[model]")]
    + "[model]\nkind = 'own'\nmodel = 'torch_model:model'\nloss = 'torch_model:loss'\noptions = { width = 8 }\n"
    + CONFIG[CONFIG.index("[train]") :]
)


def test_the_example_s_configuration_makes_its_plan(snapshot: OpenSnapshot) -> None:
    asked = make_plan(read_config(OWN_CONFIG.encode(), where="test"), snapshot)
    assert asked.model == Own("torch_model:model", "torch_model:loss", {"width": 8})
    state = make_backend("torch", asked).initial(1)
    assert make_backend("torch", asked).export(state)["model/0.weight"].shape == (8, 1, 3, 3)
    real = read_config((EXAMPLES / "own-torch.toml").read_bytes(), where="own-torch.toml")
    assert real.model.kind == "own"


@pytest.mark.parametrize(
    ("asked", "key"),
    [('group = "label"', "group"), ("membership = true", "membership"), ('metrics = ["f1_macro"]', "metrics")],
)
def test_figures_of_records_that_an_own_model_does_not_give_are_refused_before_training(
    run_once: RunOnce, asked: str, key: str
) -> None:
    ran = run_once(OWN_CONFIG + f"{asked}\n", changes=IMPORTABLE)
    assert ran.code == InputError.exit_code
    assert f"evaluate.{key}: a model of your own gives one loss a batch" in ran.error and "stages.evaluate" in ran.error
    assert not list(ran.output.iterdir())


@pytest.mark.parametrize("asked", ["", 'metrics = ["log_loss"]\n', "metrics = []\n"])
def test_an_own_model_s_loss_is_all_that_is_recorded(run_once: RunOnce, asked: str) -> None:
    config = OWN_CONFIG.replace("epochs = 3", "steps = 2") + asked
    ran = run_once(config, changes=IMPORTABLE)
    assert ran.code == 0, ran.error
    assert list(ran.result["metrics"]) == ["loss"]


# One division, after the tree. Sequences of 1, 2, 9 and 20 tokens in four shards, all of loss 1, 2, 3, 4 a token.

LENGTHS = np.array([1, 2, 9, 20])


def tokens_model(key: Any) -> torch.nn.Module:
    return torch.nn.Linear(1, 1, bias=False)


def tokens_loss(model: Any, batch: Any, key: Any) -> tuple[Any, Any]:
    mask = batch["mask"].float()
    losses = model(batch["loss"].unsqueeze(-1)).squeeze(-1)
    return (losses * mask).sum(), mask.sum()


def token_shards() -> list[dict[str, Any]]:
    mask = np.arange(20) < LENGTHS[:, None]
    losses = np.repeat(np.arange(1.0, 5.0, dtype=np.float32)[:, None], 20, axis=1)
    return [{"mask": mask[i : i + 1], "loss": losses[i : i + 1]} for i in range(4)]


def test_the_mean_of_a_masked_batch_is_not_the_mean_of_its_shards_means() -> None:
    _, backend = held(__name__, "tokens_model", "tokens_loss")
    state = backend.initial(1)
    tensors = {**backend.export(state), "model/weight": np.ones((1, 1), np.float32)}
    state = backend.load(tensors)
    parts = [backend.shard_sums(state, shard, ShardKey(1, 0, i)) for i, shard in enumerate(token_shards())]
    whole = backend.loss(tree_sum(parts, backend.add))
    assert whole.mean == (1 * 1 + 2 * 2 + 9 * 3 + 20 * 4) / 32 == 3.5
    assert sum(backend.loss(part).mean for part in parts) / 4 == 2.5


@pytest.mark.parametrize("name", KINDS)
def test_records_of_weight_0_only_pad_a_shard(name: str, batches: Batches) -> None:
    _, backend = example(name)
    state, fields = backend.initial(1), batches.batch(0).fields
    weight = (np.arange(32) < 20).astype(np.float32)
    padded = {each: value.copy() for each, value in fields.items()} | {WEIGHT: weight}
    other = {each: value.copy() for each, value in padded.items()}
    other["label"][20:] = 0
    one, two = (backend.loss(backend.shard_sums(state, each, ShardKey(1, 0, 0))) for each in (padded, other))
    assert one == two and one.weight == 20


def wrong_loss(model: Any, batch: Any, key: Any) -> Any:
    return model(batch["image"].flatten(1) / 255).mean(dim=1)


def classes_model(key: Any) -> torch.nn.Module:
    return torch.nn.Linear(784, 10)


def test_a_loss_that_is_no_sum_and_weight_is_refused(batches: Batches) -> None:
    asked, backend = held(__name__, "classes_model", "wrong_loss")
    with pytest.raises(InputError, match=r"wrong_loss must return \(sum of losses, weight\)"):
        trained(asked, backend, batches)


@pytest.mark.parametrize("name", ["missing_module:model", "torch_model:missing"])
def test_an_entry_point_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"model.model: '{name}' cannot be loaded"):
        make_backend("torch", plan(Own(name, "torch_model:loss")))


# Random streams: all that common code draws from is keyed by (seed, step, shard), and listed.


class Drawing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.own = torch.Generator()


def drawing_model(key: Any) -> torch.nn.Module:
    return Drawing()


def drawing_loss(model: Any, batch: Any, key: Any) -> tuple[Any, int]:
    import random

    drawn = torch.rand(()) + torch.rand((), generator=model.own) + random.random() + float(np.random.rand())
    return model.weight * drawn, 1


def test_every_stream_of_a_torch_module_follows_step_and_shard() -> None:
    _, backend = held(__name__, "drawing_model", "drawing_loss")
    state, fields = backend.initial(1), {"label": np.zeros(1, np.uint8)}
    keys = [ShardKey(1, 0, 0), ShardKey(1, 0, 1), ShardKey(1, 1, 0), ShardKey(2, 0, 0), ShardKey(1, 0, 0)]
    losses = []
    for key in keys:
        torch.manual_seed(99)  # what was drawn before never matters
        losses.append(backend.loss(backend.shard_sums(state, fields, key)).total)
    assert len(set(losses)) == 4 and losses[0] == losses[4]
    assert backend.random_streams() == {
        "initial": "seed",
        "evaluation": "a fixed key",
        "torch.default_generator": "seed, step, shard",
        "random": "seed, step, shard",
        "numpy.random": "seed, step, shard",
        "own": "seed, step, shard, path",
    }


@pytest.mark.parametrize("name", ["nnx_model", "equinox_model"])
def test_every_stream_of_a_jax_model_follows_step_and_shard(name: str, batches: Batches) -> None:
    _, backend = example(name)
    state, fields = backend.initial(1), batches.batch(0).fields
    keys = [ShardKey(1, 0, 0), ShardKey(1, 0, 1), ShardKey(1, 1, 0), ShardKey(2, 0, 0), ShardKey(1, 0, 0)]
    losses = [backend.loss(backend.shard_sums(state, fields, key)).total for key in keys]
    assert len(set(losses)) == 4 and losses[0] == losses[4]


def named_streams_model(key: Any) -> Any:
    from flax import nnx

    rngs = nnx.Rngs(key, noise=3)
    return nnx.List(
        [nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs, rng_collection="noise"), nnx.Linear(1, 1, rngs=rngs)]
    )


def named_streams_loss(model: Any, batch: Any, key: Any) -> tuple[Any, int]:
    import jax.numpy as jnp

    first, second = (model[index](jnp.ones(64)) for index in range(2))
    return (first * jnp.arange(64)).sum() * 1000 + (second * jnp.arange(64)).sum() + 0 * model[2].kernel[...].sum(), 1


def test_named_streams_of_nnx_are_keyed_each_by_its_path() -> None:
    _, backend = held(__name__, "named_streams_model", "named_streams_loss", "jax")
    state, fields = backend.initial(1), {"label": np.zeros(1, np.uint8)}
    first, second = (
        divmod(backend.loss(backend.shard_sums(state, fields, ShardKey(1, s, 0))).total, 1000) for s in (0, 1)
    )
    assert first[0] != second[0] and first[1] != second[1]
    assert {"0.rngs.key", "1.rngs.key"} <= backend.random_streams().keys()


def noisy_model(key: Any) -> Any:
    from flax import nnx

    return nnx.List([nnx.Linear(1, 1, rngs=nnx.Rngs(key)), nnx.Rngs(key)])


def noisy_loss(model: Any, batch: Any, key: Any) -> tuple[Any, int]:
    import jax

    return model[0].kernel[...].sum() + jax.random.uniform(model[1].params()), 1


@pytest.mark.parametrize("kind", ["torch", "jax"])
def test_what_a_loss_draws_in_evaluation_is_the_same_wherever_and_whenever(kind: str) -> None:
    names = {"torch": ("drawing_model", "drawing_loss"), "jax": ("noisy_model", "noisy_loss")}[kind]
    _, backend = held(__name__, *names, kind)
    state, fields = backend.initial(1), {"label": np.zeros(1, np.uint8)}
    first, again = (backend.predict(state, fields).losses for _ in range(2))
    backend.shard_sums(state, fields, ShardKey(1, 0, 1))
    after_a_shard = backend.predict(state, fields).losses
    other = held(__name__, *names, kind)[1]  # as in another worker, or after a resume
    assert first == again == after_a_shard == other.predict(other.initial(1), fields).losses
    assert backend.random_streams()["evaluation"] == "a fixed key"


def tied_model(key: Any) -> torch.nn.Module:
    module = torch.nn.Sequential(torch.nn.Linear(784, 784, bias=False), torch.nn.Linear(784, 784, bias=False))
    module[1].weight = module[0].weight
    return module


def test_tied_weights_are_one_tensor_and_an_alias() -> None:
    _, backend = held(__name__, "tied_model", "wrong_loss")
    assert backend.aliases() == {"1.weight": "0.weight"}
    assert [name for name in backend.export(backend.initial(1)) if name.startswith("model/")] == ["model/0.weight"]


# Dropout and activation checkpointing: what is computed again on the way back must drop the same values.


class Dropped(torch.nn.Module):
    def __init__(self, again: bool) -> None:
        super().__init__()
        self.again = again
        self.part = torch.nn.Sequential(torch.nn.Linear(784, 24), torch.nn.ReLU(), torch.nn.Dropout(0.4))
        self.head = torch.nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = checkpoint(self.part, x, use_reentrant=False) if self.again else self.part(x)
        return self.head(torch.nn.functional.dropout(part, 0.2, self.training))  # type: ignore[no-any-return]


def dropped_model(key: int, again: bool = False) -> torch.nn.Module:
    return Dropped(again)


def dropped_loss(model: torch.nn.Module, batch: Any, key: int | None) -> tuple[torch.Tensor, int]:
    scores = model(batch["image"].flatten(1) / 255)
    return torch.nn.functional.cross_entropy(scores, batch["label"].long(), reduction="sum"), len(scores)


def test_activations_computed_again_drop_the_same_values(batches: Batches) -> None:
    kept, again = (
        trained(*held(__name__, "dropped_model", "dropped_loss", again=each), batches) for each in (False, True)
    )
    asked, backend = held(__name__, "dropped_model", "dropped_loss")
    assert state_digest(backend.export(kept)) == state_digest(backend.export(again))
    fields = batches.batch(0).shard(0, 4)
    start = first_state(asked, backend)
    losses = {backend.loss(backend.shard_sums(start, fields, ShardKey(1, step, 0))).total for step in (0, 1, 0)}
    assert len(losses) == 2  # dropout was at work, and follows its key
