"""The character model: the same function in both backends, and what dropout, recomputing and bfloat16 change."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from reprise_trainer.backends.interface import WEIGHT, AdamW, Backend, Recipe, ShardKey, State
from reprise_trainer.backends.jax_backend import JaxBackend
from reprise_trainer.backends.models import Gpt, Precision, initial_values, parameters
from reprise_trainer.backends.torch_backend import TorchBackend
from reprise_trainer.training.checkpoints.state_digest import state_digest

TINY = Gpt(vocabulary=17, block=8, layers=1, heads=2, width=16, dropout=0.0, tied=True)
MAKERS = {"torch": TorchBackend, "jax": JaxBackend}
RECIPE = Recipe(AdamW(0.9, 0.99, 1e-8, 0.1), clip_norm=1.0, ema_decay=0.9)
KEY = ShardKey(1, 2, 3)


@pytest.fixture(autouse=True)
def fixed_settings() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def made(name: str, model: Gpt, precision: Precision = "float32") -> Backend:
    return MAKERS[name](model, replace(RECIPE, precision=precision))  # type: ignore[no-any-return]


def fields(records: int = 4, model: Gpt = TINY) -> dict[str, Any]:
    tokens = np.random.default_rng(4).integers(0, model.vocabulary, (records, model.block + 1))
    return {"tokens": tokens.astype(np.int32)}


def gradient(backend: Backend, state: State, key: ShardKey = KEY) -> Any:
    sums = backend.shard_sums(state, fields(), key)
    return np.asarray(sums.gradient), backend.loss(sums)


@pytest.mark.parametrize("model", [TINY, replace(TINY, tied=False, dropout=0.3)])
def test_backends_compute_the_same_function(model: Gpt) -> None:
    (one, first), (other, second) = (
        gradient(backend, backend.initial(3)) for backend in map(made, MAKERS, [model] * 2)
    )
    assert first.weight == second.weight == 4 * 8
    assert math.isclose(first.total, second.total, rel_tol=1e-5)
    np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)


def test_a_tied_head_has_no_tensor_of_its_own() -> None:
    for name in MAKERS:
        tied, untied = made(name, TINY), made(name, replace(TINY, tied=False))
        assert tied.aliases() == {"head.weight": "token.weight"} and untied.aliases() == {}
        assert "model/head.weight" not in tied.export(tied.initial(1))
        assert "model/head.weight" in untied.export(untied.initial(1))


def test_its_loss_is_that_of_a_module_written_with_torch_nn() -> None:
    model = replace(TINY, layers=2)
    values = {name: torch.from_numpy(value) for name, value in initial_values(model, 3).items()}
    tokens = torch.from_numpy(fields()["tokens"]).long()
    x = values["token.weight"][tokens[:, :-1]] + values["position.weight"]
    mask = torch.nn.Transformer.generate_square_subsequent_mask(8)
    for number in (1, 2):
        names = {
            **{"self_attn.in_proj_weight": "attention.weight", "self_attn.in_proj_bias": "attention.bias"},
            **{"self_attn.out_proj.weight": "projection.weight", "self_attn.out_proj.bias": "projection.bias"},
            **{
                f"linear{i}.{part}": f"{name}.{part}"
                for i, name in ((1, "expand"), (2, "contract"))
                for part in ("weight", "bias")
            },
            **{f"norm{i}.{part}": f"norm{i}.{part}" for i in (1, 2) for part in ("weight", "bias")},
        }
        layer = torch.nn.TransformerEncoderLayer(16, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True)
        layer.load_state_dict({theirs: values[f"block{number}.{ours}"] for theirs, ours in names.items()})
        x = layer(x, mask)
    x = torch.nn.functional.layer_norm(x, (16,), values["norm.weight"], values["norm.bias"])
    scores = x @ values["token.weight"].T
    expected = torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
    backend = made("torch", model)
    assert math.isclose(gradient(backend, backend.initial(3))[1].mean, float(expected.detach()), rel_tol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_computing_blocks_again_gives_the_same_bits_with_dropout_too(dropout: float) -> None:
    model = replace(TINY, layers=2, dropout=dropout)
    keep, again = made("torch", model), made("torch", replace(model, recompute=True))
    state, other = keep.initial(3), again.initial(3)
    for step in range(3):
        sums, theirs = (
            backend.shard_sums(now, fields(), ShardKey(1, step, 0)) for backend, now in ((keep, state), (again, other))
        )
        assert keep.gradient_sums(sums) == again.gradient_sums(theirs)
        state, other = keep.apply(state, sums, 0.01), again.apply(other, theirs, 0.01)
    assert state_digest(keep.export(state)) == state_digest(again.export(other))


def test_computing_blocks_again_in_jax_gives_the_same_numbers_if_not_bits() -> None:
    model = replace(TINY, dropout=0.3)
    keep, again = made("jax", model), made("jax", replace(model, recompute=True))
    np.testing.assert_allclose(
        gradient(keep, keep.initial(3))[0], gradient(again, again.initial(3))[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", MAKERS)
def test_bfloat16_is_near_float32_and_keeps_float32_weights(name: str) -> None:
    exact, rough = made(name, TINY), made(name, TINY, "bfloat16")
    (one, first), (other, second) = gradient(exact, exact.initial(3)), gradient(rough, rough.initial(3))
    assert first.total != second.total and math.isclose(first.total, second.total, rel_tol=0.01)
    assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(one)
    state = rough.apply(rough.initial(3), rough.shard_sums(rough.initial(3), fields(), KEY), 0.01)
    assert {value.dtype.name for each, value in rough.export(state).items() if each != "step"} == {"float32"}


@pytest.mark.parametrize("name", MAKERS)
def test_each_token_of_a_padding_record_weighs_nothing(name: str) -> None:
    backend = made(name, TINY)
    weight = np.array([1, 1, 1, 0], np.float32)
    state = backend.initial(3)
    padded = backend.loss(backend.shard_sums(state, {**fields(), WEIGHT: weight}, KEY))
    short = backend.loss(backend.shard_sums(state, {"tokens": fields()["tokens"][:3]}, KEY))
    assert padded.weight == short.weight == 24 and math.isclose(padded.total, short.total, rel_tol=1e-6)
    found = backend.predict(state, {**fields(), WEIGHT: weight})
    assert found.scores is not None and found.scores.shape == (4, 8, 17)
    assert math.isclose(float(found.losses.sum() / found.weights.sum()), padded.mean, rel_tol=1e-5)
    assert found.labels is not None and (found.labels == fields()["tokens"][:, 1:]).all()


@pytest.mark.parametrize("model", [TINY, replace(TINY, tied=False)])
def test_a_state_with_average_goes_to_the_other_backend_and_back(model: Gpt) -> None:
    one, other = (made(name, model) for name in MAKERS)
    state = one.initial(3)
    for step in range(2):
        state = one.apply(state, one.shard_sums(state, fields(), ShardKey(1, step, 0)), 0.01)
    tensors = {name: value.copy() for name, value in one.export(state).items()}
    assert {f"ema/{each.name}" for each in parameters(model)} <= tensors.keys()
    assert not np.array_equal(tensors["ema/token.weight"], tensors["model/token.weight"])
    back = one.export(one.load(other.export(other.load(tensors))))
    assert {name: value.tobytes() for name, value in back.items()} == {n: v.tobytes() for n, v in tensors.items()}
    # An update of the other's goes the same way from there, bit for bit.
    drawn = {**one.sums_tensors(one.shard_sums(state, fields(), KEY))}
    left, right = (each.apply(each.load(tensors), each.load_sums(drawn), 0.02) for each in (one, other))
    assert state_digest(one.export(left)) == state_digest(other.export(right))
