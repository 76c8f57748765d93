"""What every backend keeps: a shard's sums depend on that shard alone, a state holds all that decides the next step."""

from __future__ import annotations

import math
from itertools import permutations

import jax
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reprise_trainer.backends.interface import AdamW, Backend, Optimizer, Recipe, Sgd, ShardKey, State
from reprise_trainer.backends.jax_backend import JaxBackend
from reprise_trainer.backends.layout import layout_of
from reprise_trainer.backends.models import BuiltIn, Cnn, Mlp, initial_values, parameters
from reprise_trainer.backends.torch_backend import TorchBackend
from reprise_trainer.backends.update import integer_power
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError, SystemFailureError
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.checkpoints.state_digest import state_digest
from reprise_trainer.training.loop import first_state, steps
from reprise_trainer.training.plan import Plan, make_backend
from reprise_trainer.training.schedule import Schedule
from reprise_trainer.training.tree import tree_sum

CNN = Cnn((28, 28), 10, (4, 8), 16, 0.25)
MLP = Mlp((28, 28), 10, (16, 12), 0.0)
ADAMW = AdamW(0.9, 0.999, 1e-8, 0.01)
OPTIMIZERS = [ADAMW, Sgd(0.9, 0.0), Sgd(0.0, 0.01)]
FOUND = {"torch": ("capability", "mkldnn", "device"), "jax": ("platform", "x64")}
"""What a framework has decided by the time that it is asked; all else it is told."""
MAKERS = {"torch": TorchBackend, "jax": JaxBackend}


@pytest.fixture(autouse=True)
def fixed_settings() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    jax.config.update("jax_platforms", "cpu")


@pytest.fixture(params=MAKERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def batches(snapshot: OpenSnapshot) -> Batches:
    return Batches(snapshot, "train", seed=1, batch_size=32)


def backend_of(name: str, model: BuiltIn = CNN, optimizer: Optimizer = ADAMW) -> Backend:
    return MAKERS[name](model, Recipe(optimizer))  # type: ignore[no-any-return]


def start(backend: Backend, model: BuiltIn = CNN) -> State:
    return backend.initial(3)


def plan(model: BuiltIn = CNN, optimizer: Optimizer = ADAMW) -> Plan:
    return Plan(1, 12, 32, 4, 6, Schedule(0.01, "linear", 12), model, Recipe(optimizer))


def gradients(sums: object, model: BuiltIn) -> list[NDArray[np.float32]]:
    """In the order of the model's parameters."""
    layout = layout_of({each.name: each.shape for each in parameters(model)})
    return list(layout.views(np.asarray(sums.gradient)).values())  # type: ignore[attr-defined]


def test_shards_can_be_computed_in_any_order(name: str, batches: Batches) -> None:
    backend = backend_of(name)
    state, batch = start(backend), batches.batch(0)
    found = set()
    for order in permutations(range(4)):
        sums = {index: backend.shard_sums(state, batch.shard(index, 4), ShardKey(1, 0, index)) for index in order}
        total = tree_sum([sums[index] for index in range(4)], backend.add)
        found.add((backend.loss(total), tuple(backend.gradient_sums(total).items())))
    assert len(found) == 1


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers_gives_the_same_bits(name: str, workers: int, batches: Batches) -> None:
    backend, asked = backend_of(name), plan()
    alone, together = (
        list(steps(asked, backend, batches, first_state(asked, backend), 0, workers=count)) for count in (1, workers)
    )
    assert [step.reading.read() for step in together] == [step.reading.read() for step in alone]
    assert state_digest(backend.export(together[-1].state)) == state_digest(backend.export(alone[-1].state))


def test_dropout_follows_step_and_shard(name: str, batches: Batches) -> None:
    backend = backend_of(name)
    state, fields = start(backend), batches.batch(0).shard(0, 4)
    keys = [ShardKey(1, 0, 0), ShardKey(1, 0, 1), ShardKey(1, 1, 0), ShardKey(2, 0, 0)]
    losses = [backend.loss(backend.shard_sums(state, fields, key)).total for key in [*keys, keys[0]]]
    assert len(set(losses)) == 4 and losses[0] == losses[4]


def test_gradients_are_those_of_the_mean_loss(name: str, batches: Batches) -> None:
    backend = backend_of(name, MLP)
    state, batch = start(backend, MLP), batches.batch(0)
    total = tree_sum(
        (backend.shard_sums(state, batch.shard(index, 4), ShardKey(1, 0, index)) for index in range(4)), backend.add
    )
    values = {each: torch.from_numpy(v).double().requires_grad_() for each, v in initial_values(MLP, 3).items()}
    labels = torch.from_numpy(batch.fields["label"].astype(np.int64))
    images = torch.from_numpy(batch.fields["image"])

    x = images.reshape(32, -1).double() / 255 - 0.5
    for number in (1, 2):
        x = torch.relu(x @ values[f"dense{number}.weight"].T + values[f"dense{number}.bias"])
    x = x @ values["dense3.weight"].T + values["dense3.bias"]
    loss = torch.nn.functional.cross_entropy(x, labels)
    expected = torch.autograd.grad(loss, list(values.values()))
    assert math.isclose(backend.loss(total).mean, float(loss.detach()), rel_tol=1e-5)
    for found, exact in zip(gradients(total, MLP), expected, strict=True):
        np.testing.assert_allclose(found / 32, exact.numpy(), rtol=1e-3, atol=1e-6)


def test_gradient_sums_are_exact_sums_of_bit_patterns(name: str, batches: Batches) -> None:
    backend = backend_of(name)
    sums = backend.shard_sums(start(backend), batches.batch(0).fields, ShardKey(1, 0, 0))
    found = backend.gradient_sums(sums)
    for (each, total), gradient in zip(found.items(), gradients(sums, CNN), strict=True):
        assert total == sum(gradient.reshape(-1).view(np.int32).tolist()), each


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers_agree_with_the_framework_s_own(name: str, optimizer: Optimizer, batches: Batches) -> None:
    backend = backend_of(name, MLP, optimizer)
    state = start(backend, MLP)
    values = {each: torch.from_numpy(v.copy()).requires_grad_() for each, v in initial_values(MLP, 3).items()}
    if isinstance(optimizer, AdamW):
        theirs: torch.optim.Optimizer = torch.optim.AdamW(values.values(), lr=0.01, weight_decay=0.01)
    else:
        theirs = torch.optim.SGD(values.values(), 0.01, optimizer.momentum, weight_decay=optimizer.weight_decay)
    for number in range(5):
        sums = backend.shard_sums(state, batches.batch(number).fields, ShardKey(1, number, 0))
        for value, gradient in zip(values.values(), gradients(sums, MLP), strict=True):
            value.grad = torch.from_numpy(gradient / np.float32(32))
        state = backend.apply(state, sums, 0.01)
        theirs.step()
    found = backend.export(state)
    for each, expected in values.items():
        np.testing.assert_allclose(found[f"model/{each}"], expected.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_an_update_changes_nothing_in_place(name: str, batches: Batches) -> None:
    backend = backend_of(name)
    state = start(backend)
    before = state_digest(backend.export(state))
    sums = backend.shard_sums(state, batches.batch(0).fields, ShardKey(1, 0, 0))
    after = backend.apply(state, sums, 0.1)
    assert state_digest(backend.export(state)) == before != state_digest(backend.export(after))


@pytest.mark.parametrize("model", [CNN, MLP])
@pytest.mark.parametrize("optimizer", [ADAMW, Sgd(0.9, 0.01)])
def test_going_on_from_a_loaded_state_gives_the_same_bits(
    name: str, model: BuiltIn, optimizer: Optimizer, batches: Batches
) -> None:
    backend, asked = backend_of(name, model, optimizer), plan(model, optimizer)
    whole = list(steps(asked, backend, batches, first_state(asked, backend), 0))
    for middle in (1, 7):
        saved = {each: value.copy() for each, value in backend.export(whole[middle - 1].state).items()}
        fresh = backend_of(name, model, optimizer)
        rest = list(steps(asked, fresh, batches, fresh.load(saved), middle))
        assert [step.reading.read() for step in rest] == [step.reading.read() for step in whole[middle:]]
        assert state_digest(fresh.export(rest[-1].state)) == state_digest(backend.export(whole[-1].state))


def test_a_state_that_does_not_fit_is_refused(name: str) -> None:
    backend = backend_of(name)
    good = backend.export(start(backend))
    for change, message in [
        ({"model/extra": np.zeros(1, np.float32)}, "'model/extra' is unknown here"),
        (
            {"model/conv1.bias": np.zeros(5, np.float32)},
            r"'model/conv1.bias' is float32 \(5,\), expected float32 \(4,\)",
        ),
        ({"model/conv1.bias": np.zeros(4, np.float64)}, "float64"),
    ]:
        with pytest.raises(InputError, match=message):
            backend.load({**good, **change})
    with pytest.raises(InputError, match="'step' is missing"):
        backend.load({each: value for each, value in good.items() if each != "step"})


def test_an_image_too_small_for_the_convolutions_is_refused(name: str) -> None:
    assert backend_of(name, Cnn((8, 9), 10, (4, 4, 4), 16, 0.0)).initial(1).step == 0
    with pytest.raises(InputError, match=r"8 x 9 is too small for 4 convolutions.* need 16 x 16") as refused:
        backend_of(name, Cnn((8, 9), 10, (4, 4, 4, 4), 16, 0.0))
    assert "at most 3 fit" in refused.value.hint


def test_a_profile_that_the_framework_does_not_follow_is_refused(name: str) -> None:
    for switch in FOUND[name]:
        assert switch in PROFILES["portable"].backends[name]
        with pytest.raises(SystemFailureError, match=f"{name} reports {switch} .*'SOMETHING ELSE'"):
            backend_of(name).prepare({switch: "SOMETHING ELSE"}, 1)


def test_jax_without_its_number_of_threads_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPROC", "3")
    with pytest.raises(SystemFailureError, match="jax reports threads '3', the profile asks for '2'"):
        backend_of("jax").prepare({"x64": "false"}, 2)


def test_a_record_scores_the_same_beside_others(name: str, batches: Batches) -> None:
    backend, fields = backend_of(name), batches.batch(0).fields
    once, again = (backend.predict(start(backend), fields) for _ in range(2))
    assert once.scores.shape == (32, 10) and once.losses.shape == (32,)
    assert once.scores.tobytes() == again.scores.tobytes()


# Between backends: the same start, the same random numbers, the same optimizer; the forward pass is each one's own.


@pytest.mark.parametrize("model", [CNN, MLP])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_goes_from_one_backend_to_the_other_and_back(model: BuiltIn, optimizer: Optimizer) -> None:
    backend, other = backend_of("torch", model, optimizer), backend_of("jax", model, optimizer)
    batch = np.random.default_rng(5)
    state = start(backend, model)
    for _ in range(2):
        fields = {
            "image": batch.integers(0, 256, (8, 28, 28), dtype=np.uint8),
            "label": batch.integers(0, 10, 8, dtype=np.uint8),
        }
        state = backend.apply(state, backend.shard_sums(state, fields, ShardKey(1, 0, 0)), 0.01)
    tensors = backend.export(state)
    back = backend.export(backend.load(other.export(other.load(tensors))))
    assert back.keys() == tensors.keys()
    assert {each: value.tobytes() for each, value in back.items()} == {e: v.tobytes() for e, v in tensors.items()}


@pytest.mark.parametrize("model", [CNN, Mlp((28, 28), 10, (16, 12), 0.5)])
def test_backends_compute_the_same_function(model: BuiltIn, batches: Batches) -> None:
    fields = batches.batch(0).fields
    one, other = (backend_of(name, model) for name in MAKERS)
    for key in (ShardKey(1, 0, 0), ShardKey(4, 9, 2)):  # dropout too: other masks would be far off
        left, right = (each.shard_sums(start(each, model), fields, key) for each in (one, other))
        assert math.isclose(one.loss(left).total, other.loss(right).total, rel_tol=1e-5)
        for ours, theirs in zip(gradients(left, model), gradients(right, model), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)


RECIPES = [*map(Recipe, OPTIMIZERS), Recipe(ADAMW, clip_norm=0.5, ema_decay=0.99), Recipe(Sgd(0.9, 0.0), 1e9, 0.5)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_gradients_give_the_same_bits_in_every_backend(recipe: Recipe) -> None:
    """Subnormal gradients too, which XLA takes for zero."""
    random = np.random.default_rng(1)
    one, other = (MAKERS[name](MLP, recipe) for name in ("torch", "jax"))
    left, right = one.initial(3), other.initial(3)
    size = layout_of({each.name: each.shape for each in parameters(MLP)}).size
    for step in range(4):
        drawn = (random.normal(size=size) * 10.0 ** random.integers(-44, 3, size)).astype(np.float32)
        tensors = {"loss": np.float32(0), "weight": np.int64(3), "gradient": drawn}
        sums, theirs = (each.load_sums(tensors) for each in (one, other))
        left = one.apply(left, one.add(sums, sums), 0.003)
        right = other.apply(right, other.add(theirs, theirs), 0.003)
        assert state_digest(one.export(left)) == state_digest(other.export(right)), step


@pytest.mark.parametrize("model", [CNN, MLP])
def test_initial_values_depend_on_seed_and_name_alone(model: BuiltIn) -> None:
    first, again, other = initial_values(model, 1), initial_values(model, 1), initial_values(model, 2)
    for each in parameters(model):
        assert first[each.name].shape == each.shape
        assert first[each.name].tobytes() == again[each.name].tobytes()
        if each.form == "constant":
            assert (first[each.name] == each.spread).all()
        else:
            assert not np.array_equal(first[each.name], other[each.name])
            assert abs(first[each.name]).max() <= np.float32(each.spread) * (6 if each.form == "normal" else 1)


@pytest.mark.parametrize("base", [0.9, 0.999, 0.5])
def test_powers_are_products(base: float) -> None:
    assert integer_power(base, 0) == 1.0
    assert integer_power(base, 1) == base
    assert integer_power(base, 5) == (base * base) * (base * base) * base or math.isclose(
        integer_power(base, 5), base**5, rel_tol=1e-15
    )
    assert math.isclose(integer_power(base, 1000), base**1000, rel_tol=1e-12)


def test_an_environment_without_the_framework_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, f"reprise_trainer.backends.{name}_backend", None)
    with pytest.raises(SystemFailureError, match=f"backend '{name}' cannot be loaded: this environment has no"):
        make_backend(name, plan())
