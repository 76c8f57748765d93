"""The PyTorch backend: what a shard gives depends on that shard alone, and the optimizers are what they say."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from reprise_trainer.backends.interface import AdamW, Sgd, ShardKey
from reprise_trainer.backends.models import Cnn, Mlp, Model, initial_values, parameters
from reprise_trainer.backends.torch_backend import TorchBackend, integer_power
from reprise_trainer.backends.torch_models import record_losses, scores
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError, SystemFailureError
from reprise_trainer.training.loop import first_state, steps
from reprise_trainer.training.plan import Plan
from reprise_trainer.training.state_digest import state_digest
from reprise_trainer.training.tree import tree_sum

CNN = Cnn((28, 28), 10, (4, 8), 16, 0.25)
MLP = Mlp((28, 28), 10, (16, 12), 0.0)
ADAMW = AdamW(0.9, 0.999, 1e-8, 0.01)


@pytest.fixture(autouse=True)
def fixed_settings() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


@pytest.fixture
def batches(snapshot: OpenSnapshot) -> Batches:
    return Batches(snapshot, "train", seed=1, batch_size=32)


def backend_of(model: Model = CNN) -> TorchBackend:
    return TorchBackend(model, ADAMW)


def start(backend: TorchBackend, model: Model = CNN):  # type: ignore[no-untyped-def]
    return backend.initial(initial_values(model, 3))


def test_shards_can_be_computed_in_any_order(batches: Batches) -> None:
    backend = backend_of()
    state, batch = start(backend), batches.batch(0)
    found = set()
    for order in permutations(range(4)):
        sums = {index: backend.shard_sums(state, batch.shard(index, 4), ShardKey(1, 0, index)) for index in order}
        total = tree_sum([sums[index] for index in range(4)], backend.add)
        found.add((backend.loss(total), tuple(backend.gradient_sums(total).items())))
    assert len(found) == 1


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_any_number_of_workers_gives_the_same_bits(workers: int, batches: Batches) -> None:
    backend, asked = backend_of(), plan(CNN, ADAMW)
    alone, together = (
        list(steps(asked, backend, batches, first_state(asked, backend), 0, workers=count)) for count in (1, workers)
    )
    assert [(s.loss, s.gradient) for s in together] == [(s.loss, s.gradient) for s in alone]
    assert state_digest(backend.export(together[-1].state)) == state_digest(backend.export(alone[-1].state))


def test_dropout_follows_step_and_shard(batches: Batches) -> None:
    backend = backend_of()
    state, fields = start(backend), batches.batch(0).shard(0, 4)
    keys = [ShardKey(1, 0, 0), ShardKey(1, 0, 1), ShardKey(1, 1, 0), ShardKey(2, 0, 0)]
    losses = [backend.loss(backend.shard_sums(state, fields, key)).total for key in [*keys, keys[0]]]
    assert len(set(losses)) == 4 and losses[0] == losses[4]


def test_gradients_are_those_of_the_mean_loss(batches: Batches) -> None:
    backend = backend_of(MLP)
    state, batch = start(backend, MLP), batches.batch(0)
    total = tree_sum(
        (backend.shard_sums(state, batch.shard(index, 4), ShardKey(1, 0, index)) for index in range(4)), backend.add
    )
    values = {name: value.clone().double().requires_grad_() for name, value in state.model.items()}
    labels = torch.from_numpy(batch.fields["label"].astype(np.int64))
    images = torch.from_numpy(batch.fields["image"])

    x = images.reshape(32, -1).double() / 255 - 0.5
    for number in (1, 2):
        x = torch.relu(x @ values[f"dense{number}.weight"].T + values[f"dense{number}.bias"])
    x = x @ values["dense3.weight"].T + values["dense3.bias"]
    loss = torch.nn.functional.cross_entropy(x, labels)
    expected = torch.autograd.grad(loss, list(values.values()))
    assert math.isclose(backend.loss(total).mean, float(loss.detach()), rel_tol=1e-5)
    for found, exact in zip(total.gradients, expected, strict=True):
        torch.testing.assert_close(found / total.weight, exact.float(), rtol=1e-3, atol=1e-6)


def test_gradient_sums_are_exact_sums_of_bit_patterns(batches: Batches) -> None:
    backend = backend_of()
    sums = backend.shard_sums(start(backend), batches.batch(0).fields, ShardKey(1, 0, 0))
    found = backend.gradient_sums(sums)
    for (name, total), gradient in zip(found.items(), sums.gradients, strict=True):
        assert total == sum(gradient.numpy().reshape(-1).view(np.int32).tolist()), name


@pytest.mark.parametrize("optimizer", [ADAMW, Sgd(0.9, 0.0), Sgd(0.0, 0.01)])
def test_optimizers_agree_with_the_frameworks_own(optimizer: AdamW | Sgd, batches: Batches) -> None:
    backend = TorchBackend(MLP, optimizer)
    state = start(backend, MLP)
    values = {name: value.clone().requires_grad_() for name, value in state.model.items()}
    if isinstance(optimizer, AdamW):
        theirs: torch.optim.Optimizer = torch.optim.AdamW(values.values(), lr=0.01, weight_decay=0.01)
    else:
        theirs = torch.optim.SGD(values.values(), 0.01, optimizer.momentum, weight_decay=optimizer.weight_decay)
    for number in range(5):
        sums = backend.shard_sums(state, batches.batch(number).fields, ShardKey(1, number, 0))
        for value, gradient in zip(values.values(), sums.gradients, strict=True):
            value.grad = gradient / sums.weight
        state = backend.apply(state, sums, 0.01)
        theirs.step()
    for name, value in state.model.items():
        torch.testing.assert_close(value, values[name].detach(), rtol=1e-5, atol=1e-6)


def test_an_update_changes_nothing_in_place(batches: Batches) -> None:
    backend = backend_of()
    state = start(backend)
    before = state_digest(backend.export(state))
    sums = backend.shard_sums(state, batches.batch(0).fields, ShardKey(1, 0, 0))
    after = backend.apply(state, sums, 0.1)
    assert state_digest(backend.export(state)) == before != state_digest(backend.export(after))


def plan(model: Model, optimizer: AdamW | Sgd) -> Plan:
    return Plan(1, 12, 32, 4, 6, 0.01, True, model, optimizer)


@pytest.mark.parametrize("model", [CNN, MLP])
@pytest.mark.parametrize("optimizer", [ADAMW, Sgd(0.9, 0.01)])
def test_going_on_from_a_loaded_state_gives_the_same_bits(model: Model, optimizer, batches: Batches) -> None:  # type: ignore[no-untyped-def]
    backend, asked = TorchBackend(model, optimizer), plan(model, optimizer)
    whole = list(steps(asked, backend, batches, first_state(asked, backend), 0))
    for middle in (1, 7):
        saved = {name: value.copy() for name, value in backend.export(whole[middle - 1].state).items()}
        fresh = TorchBackend(model, optimizer)
        rest = list(steps(asked, fresh, batches, fresh.load(saved), middle))
        assert [(s.number, s.loss, s.batch, s.gradient) for s in rest] == [
            (s.number, s.loss, s.batch, s.gradient) for s in whole[middle:]
        ]
        assert state_digest(fresh.export(rest[-1].state)) == state_digest(backend.export(whole[-1].state))


def test_a_state_that_does_not_fit_is_refused() -> None:
    backend = backend_of()
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
        backend.load({name: value for name, value in good.items() if name != "step"})


def test_a_profile_that_the_framework_does_not_follow_is_refused() -> None:
    with pytest.raises(SystemFailureError, match="capability"):
        backend_of().prepare({"capability": "SOMETHING ELSE"}, 1)


@pytest.mark.parametrize("model", [CNN, MLP])
def test_initial_values_depend_on_seed_and_name_alone(model: Model) -> None:
    first, again, other = initial_values(model, 1), initial_values(model, 1), initial_values(model, 2)
    for each in parameters(model):
        assert first[each.name].shape == each.shape
        assert first[each.name].tobytes() == again[each.name].tobytes()
        if each.inputs:
            assert not np.array_equal(first[each.name], other[each.name])
            assert abs(first[each.name]).max() <= np.float32(math.sqrt(6 / each.inputs))


def test_a_record_scores_the_same_without_dropout() -> None:
    images = torch.arange(3 * 784, dtype=torch.uint8).reshape(3, 28, 28)
    values = {name: torch.from_numpy(value) for name, value in initial_values(CNN, 1).items()}
    result = scores(CNN, values, images, None)
    assert result.shape == (3, 10)
    assert record_losses(result, torch.tensor([0, 1, 2])).shape == (3,)


@pytest.mark.parametrize("base", [0.9, 0.999, 0.5])
def test_powers_are_products(base: float) -> None:
    assert integer_power(base, 0) == 1.0
    assert integer_power(base, 1) == base
    assert integer_power(base, 5) == (base * base) * (base * base) * base or math.isclose(
        integer_power(base, 5), base**5, rel_tol=1e-15
    )
    assert math.isclose(integer_power(base, 1000), base**1000, rel_tol=1e-12)
