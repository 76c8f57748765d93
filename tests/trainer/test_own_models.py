"""A user's own model: the three examples, the contract of sums and weights, buffers, and random streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.trainer.conftest import CONFIG, RunOnce
from torch.utils.checkpoint import checkpoint

import reprise_trainer
from reprise_trainer.backends.buffers import STORED
from reprise_trainer.backends.interface import WEIGHT, AdamW, Backend, Recipe, ShardKey, State
from reprise_trainer.backends.models import Own
from reprise_trainer.config.read import read_config
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.evaluation.judged import judge
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from reprise_trainer.training.checkpoints.state_digest import state_digest
from reprise_trainer.training.loop import first_state, steps
from reprise_trainer.training.plan import Plan, make_backend, make_plan
from reprise_trainer.training.schedule import Schedule
from reprise_trainer.training.tree import tree_sum

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPE = Recipe(AdamW(0.9, 0.999, 1e-8, 0.0))
KINDS = {"torch_model": "torch", "nnx_model": "jax", "equinox_model": "jax"}

IMPORTABLE = {"PYTHONPATH": f"{Path(reprise_trainer.__file__).parents[1]}:{EXAMPLES / 'own'}"}


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "own")
    torch.set_num_threads(1)


def plan(own: Own, shards: int = 4) -> Plan:
    return Plan(1, 6, 32, shards, 6, Schedule(0.01, "constant", 6), own, RECIPE)


def example(name: str, **options: Any) -> tuple[Plan, Backend]:
    asked = plan(Own(f"{name}:model", f"{name}:loss", options))
    return asked, make_backend(KINDS[name], asked)


def here(model: str, loss: str, backend: str = "torch", **options: Any) -> tuple[Plan, Backend]:
    asked = plan(Own(f"{__name__}:{model}", f"{__name__}:{loss}", options))
    return asked, make_backend(backend, asked)


def trained(asked: Plan, backend: Backend, batches: Batches, **kwargs: Any) -> State:
    *_, last = steps(asked, backend, batches, first_state(asked, backend), 0, **kwargs)
    return last.state


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
    _, backend = here("tokens_model", "tokens_loss")
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
    asked, backend = here("classes_model", "wrong_loss")
    with pytest.raises(InputError, match=r"wrong_loss must return \(sum of losses, weight\)"):
        trained(asked, backend, batches)


@pytest.mark.parametrize("name", ["missing_module:model", "torch_model:missing"])
def test_an_entry_point_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"model.model: '{name}' cannot be loaded"):
        make_backend("torch", plan(Own(name, "torch_model:loss")))


# Buffers: a shard's statistics start from the state's, and the next state has the shards' mean.


def test_batch_normalisation_is_per_shard_and_its_statistics_are_averaged(batches: Batches) -> None:
    _, backend = example("torch_model", width=4)
    state, batch = backend.initial(1), batches.batch(0)
    import torch_model

    found = {name.removeprefix("model/"): value for name, value in backend.export(state).items()}
    expected = []
    for index in range(4):
        module = torch_model.model(0, width=4)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.from_numpy(found[name].copy()))
        shard = {name: torch.from_numpy(value) for name, value in batch.shard(index, 4).items()}
        torch_model.loss(module, {**shard, WEIGHT: torch.ones(8)}, 0)
        expected.append(module[1].running_var.numpy())
    parts = [backend.shard_sums(state, batch.shard(index, 4), ShardKey(1, 0, index)) for index in range(4)]
    after = backend.export(backend.apply(state, tree_sum(parts, backend.add), 0.01))
    mean = ((expected[0] + expected[1]) + (expected[2] + expected[3])) / np.float32(4)
    np.testing.assert_array_equal(after["buffer/1.running_var"], mean)
    assert after["buffer/1.num_batches_tracked"] == 1


class Counting(torch.nn.Module):
    """Counts bright records, which differs from shard to shard."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bright", torch.zeros((), dtype=torch.int64))
        self.weight = torch.nn.Parameter(torch.ones(()))


def counting_model(key: Any) -> torch.nn.Module:
    return Counting()


def counting_loss(model: Any, batch: Any, key: Any) -> tuple[Any, int]:
    model.bright += batch["label"].long().sum()
    return model.weight * 1.0, 1


def test_an_integer_buffer_that_differs_between_shards_is_refused(batches: Batches) -> None:
    asked, backend = here("counting_model", "counting_loss")
    with pytest.raises(InputError, match="buffer 'bright' differs between shards"):
        trained(asked, backend, batches)


SMALL = {  # each among the smallest of its type, where a half is not exact
    "small16": np.array([3 * 2.0**-24, 1e-5, 5e-5], np.float16),
    "small32": np.array([3 * 2.0**-149, 1e-40, 1.0], np.float32),
}


class Frozen(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        for name, value in SMALL.items():
            self.register_parameter(name, torch.nn.Parameter(torch.from_numpy(value.copy()), requires_grad=False))


def frozen_model(key: Any) -> torch.nn.Module:
    return Frozen()


def frozen_loss(model: Any, batch: Any, key: Any) -> tuple[torch.Tensor, int]:
    return model.weight * 1.0, 1


def frozen_nnx_model(key: Any) -> Any:
    from flax import nnx

    return nnx.Dict(
        line=nnx.Linear(1, 1, rngs=nnx.Rngs(0)), **{name: nnx.Variable(value) for name, value in SMALL.items()}
    )


def frozen_nnx_loss(model: Any, batch: Any, key: Any) -> tuple[Any, int]:
    return model.line.kernel[...].sum(), 1


@pytest.mark.parametrize(
    ("names", "backend"),
    [(("frozen_model", "frozen_loss"), "torch"), (("frozen_nnx_model", "frozen_nnx_loss"), "jax")],
)
def test_what_is_frozen_keeps_its_bits_however_many_shards_are_added(
    names: tuple[str, str], backend: str, batches: Batches
) -> None:
    asked, own = here(*names, backend)
    after = own.export(trained(asked, own, batches))
    for name, value in SMALL.items():
        np.testing.assert_array_equal(after[f"buffer/{name}"].view(np.uint8), value.view(np.uint8))


class Fitted(torch.nn.Module):
    """A linear layer, and a buffer that the first batch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(784, 10)
        self.register_buffer("scale", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.scale is None:
            self.scale = x.abs().mean(dim=0) + 1
        return self.line(x / self.scale)  # type: ignore[no-any-return]


def fitted_model(key: Any) -> torch.nn.Module:
    return Fitted()


def fitted_loss(model: torch.nn.Module, batch: Any, key: Any) -> tuple[torch.Tensor, int]:
    scores = model(batch["image"].flatten(1) / 255)
    return torch.nn.functional.cross_entropy(scores, batch["label"].long(), reduction="sum"), len(scores)


def widening_model(key: Any) -> Any:
    from flax import nnx

    return nnx.List([nnx.Linear(1, 1, rngs=nnx.Rngs(0)), nnx.BatchStat(np.zeros(1, np.float32))])


def widening_loss(model: Any, batch: Any, key: Any) -> tuple[Any, int]:
    model[1].set_value(np.zeros(2, np.float32))
    return model[0].kernel[...].sum(), 1


@pytest.mark.parametrize(
    ("names", "backend", "message"),
    [
        (
            ("fitted_model", "fitted_loss"),
            "torch",
            r"'scale' was not there before a step, and is float32 \[784\] after",
        ),
        (
            ("widening_model", "widening_loss"),
            "jax",
            r"'1' was float32 \[1\] before a step, and is float32 \[2\] after",
        ),
    ],
)
def test_a_buffer_that_comes_or_changes_its_form_is_refused(
    names: tuple[str, str], backend: str, message: str, batches: Batches
) -> None:
    with pytest.raises(InputError, match=message):
        trained(*here(*names, backend), batches)


def test_a_buffer_that_comes_in_an_evaluation_is_refused(batches: Batches) -> None:
    _, backend = here("fitted_model", "fitted_loss")
    with pytest.raises(InputError, match="'scale' was not there before a step"):
        backend.predict(backend.initial(1), batches.batch(0).fields)


class Narrow(torch.nn.Module):
    def __init__(self, frozen: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        ones = torch.ones(3, dtype=torch.bfloat16)
        self.narrow = torch.nn.Parameter(ones, requires_grad=False) if frozen else torch.nn.Buffer(ones)


def narrow_model(key: Any, frozen: bool = False) -> torch.nn.Module:
    return Narrow(frozen)


def narrow_nnx_model(key: Any) -> Any:
    import jax.numpy as jnp
    from flax import nnx

    return nnx.Dict(line=nnx.Linear(1, 1, rngs=nnx.Rngs(0)), narrow=nnx.Variable(jnp.ones(3, jnp.bfloat16)))


@pytest.mark.parametrize(
    ("backend", "model", "options"),
    [("torch", "narrow_model", {}), ("torch", "narrow_model", {"frozen": True}), ("jax", "narrow_nnx_model", {})],
)
def test_a_buffer_that_no_checkpoint_can_hold_is_refused_before_training(
    backend: str, model: str, options: dict[str, bool]
) -> None:
    with pytest.raises(InputError, match="buffer 'narrow' is bfloat16, which no checkpoint can hold"):
        here(model, "drawing_loss", backend, **options)


@pytest.mark.parametrize("element_type", STORED)
def test_a_buffer_of_every_other_type_comes_back_from_a_checkpoint(element_type: str, tmp_path: Path) -> None:
    written = {"buffer/each": np.ones(3, element_type)}
    write_checkpoint(tmp_path, 1, written)
    read = read_checkpoint(tmp_path / "step-00000001").tensors["buffer/each"]
    assert read.dtype == element_type and read.tobytes() == written["buffer/each"].tobytes()


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
    _, backend = here("drawing_model", "drawing_loss")
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
    _, backend = here("named_streams_model", "named_streams_loss", "jax")
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
    _, backend = here(*names, kind)
    state, fields = backend.initial(1), {"label": np.zeros(1, np.uint8)}
    first, again = (backend.predict(state, fields).losses for _ in range(2))
    backend.shard_sums(state, fields, ShardKey(1, 0, 1))
    after_a_shard = backend.predict(state, fields).losses
    other = here(*names, kind)[1]  # as in another worker, or after a resume
    assert first == again == after_a_shard == other.predict(other.initial(1), fields).losses
    assert backend.random_streams()["evaluation"] == "a fixed key"


def tied_model(key: Any) -> torch.nn.Module:
    module = torch.nn.Sequential(torch.nn.Linear(784, 784, bias=False), torch.nn.Linear(784, 784, bias=False))
    module[1].weight = module[0].weight
    return module


def test_tied_weights_are_one_tensor_and_an_alias() -> None:
    _, backend = here("tied_model", "wrong_loss")
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
    kept, again = (trained(*here("dropped_model", "dropped_loss", again=each), batches) for each in (False, True))
    asked, backend = here("dropped_model", "dropped_loss")
    assert state_digest(backend.export(kept)) == state_digest(backend.export(again))
    fields = batches.batch(0).shard(0, 4)
    start = first_state(asked, backend)
    losses = {backend.loss(backend.shard_sums(start, fields, ShardKey(1, step, 0))).total for step in (0, 1, 0)}
    assert len(losses) == 2  # dropout was at work, and follows its key
