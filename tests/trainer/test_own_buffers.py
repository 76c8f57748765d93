"""Buffers of a user's own model: a shard's statistics start from the state's, the next state has the shards' mean; what
no mean or checkpoint can give back is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reprise_trainer.backends.buffers import STORED
from reprise_trainer.backends.interface import WEIGHT, ShardKey
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from reprise_trainer.training.tree import tree_sum

from .own_models import EXAMPLES, example, held, trained


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "own")
    torch.set_num_threads(1)


@pytest.fixture
def batches(snapshot: OpenSnapshot) -> Batches:
    return Batches(snapshot, "train", seed=1, batch_size=32)


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
    asked, backend = held(__name__, "counting_model", "counting_loss")
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
    asked, own = held(__name__, *names, backend)
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
        trained(*held(__name__, *names, backend), batches)


def test_a_buffer_that_comes_in_an_evaluation_is_refused(batches: Batches) -> None:
    _, backend = held(__name__, "fitted_model", "fitted_loss")
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
        held(__name__, model, "counting_loss", backend, **options)


@pytest.mark.parametrize("element_type", STORED)
def test_a_buffer_of_every_other_type_comes_back_from_a_checkpoint(element_type: str, tmp_path: Path) -> None:
    written = {"buffer/each": np.ones(3, element_type)}
    write_checkpoint(tmp_path, 1, written)
    read = read_checkpoint(tmp_path / "step-00000001").tensors["buffer/each"]
    assert read.dtype == element_type and read.tobytes() == written["buffer/each"].tobytes()
