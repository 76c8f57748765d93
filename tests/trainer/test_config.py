"""The configuration: what is wrong is said in one line, with the key and what would do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.trainer.conftest import CONFIG

from reprise_trainer.config.model import CnnSection, MlpSection
from reprise_trainer.config.optimizer import AdamWSection, SgdSection
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.errors import InputError, RepriseError

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion-mnist.toml"


def message(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_config(text.encode(), where="run.toml")
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_example_is_valid() -> None:
    config = read_config(EXAMPLE.read_bytes(), where=str(EXAMPLE))
    assert (config.run.environment, config.run.profile) == ("torch-cpu", "x86-64-v3")
    assert config.train.total_steps(60_000) == 938  # 2 epochs in batches of 128


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size = 32", "batchsize = 32", "train.batchsize: unknown key; did you mean 'batch_size'?"),
        ("lr = 0.01", "rl = 0.01", "train.optimizer.lr: missing"),
        ("weight_decay", "weight_decy", "train.optimizer.weight_decy: unknown key; did you mean 'weight_decay'?"),
        ("channels = [4, 8]", "chanels = [4, 8]", "model.chanels: unknown key; did you mean 'channels'?"),
        ("[evaluate]", "[evalute]", "evalute: unknown key; did you mean 'evaluate'?"),
        (
            "seed = 7",
            "seed = 7\nxyzzy = 1",
            "run.xyzzy: unknown key; valid are environment, name, profile, seed, threads",
        ),
        ("seed = 7", "", "run.seed: missing"),
        ("seed = 7", "seed = -1", "run.seed: input should be greater than or equal to 0, not -1"),
        ("seed = 7", "seed = 7.5", "run.seed: input should be a valid integer, not 7.5"),
        ('kind = "cnn"', 'kind = "gnn"', "model.kind: expected one of 'cnn', 'mlp'"),
        ('kind = "adamw"', "", "train.optimizer.kind: expected one of"),
        ("epochs = 3", "epochs = 3\nsteps = 5", "train: give either epochs or steps"),
        ("epochs = 3", "", "train: give either epochs or steps"),
        ("shards = 4", "shards = 3", "train: shards must be a power of two that divides"),
        ("batch_size = 32", "batch_size = 30", "batch_size 30 (one of 1, 2), not 4"),
        ("every = 10", "every = 10\nkeep_best = 2", "checkpoint: keep_every and keep_best say what is kept beside"),
        (
            "every = 10",
            'every = 10\nmetric = "validation"',
            'run.toml: checkpoint.metric is "validation": say in [validation]',
        ),
        (
            "every = 10",
            'every = 10\nmetric = "validation"\n[validation]\nevery = 4',
            "checkpoint.every (10) must be a multiple of validation.every (4)",
        ),
        ("every = 10", "evry = 10", "checkpoint.evry: unknown key; did you mean 'every'?"),
        ("lr = 0.01", "lr = nan", "train.optimizer.lr: "),
        ("lr = 0.01", "lr = 0.01\nepsilon = 1e-60", "train.optimizer.epsilon: 1e-60 counts as 0 in float32"),
        (
            "channels = [4, 8]",
            "channels = [4, 0]",
            "model.channels.1: input should be greater than or equal to 1, not 0",
        ),
        ('name = "small"', 'name = "Not A Name"', "run.name: "),
    ],
)
def test_a_mistake_is_named_with_what_would_do(old: str, new: str, expected: str) -> None:
    assert old in CONFIG
    found = message(CONFIG.replace(old, new, 1))
    assert found.startswith("run.toml: ")
    assert expected in found


def test_text_that_is_not_toml_is_located() -> None:
    assert "line 2" in message("[run]\nname = \n")


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(InputError, match="not a TOML file"):
        read_config(b"\xff\xfe", where="run.toml")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_message(data: bytes) -> None:
    with pytest.raises(RepriseError):
        read_config(data, where="run.toml")


def test_every_key_is_described() -> None:
    def undescribed(model: type[BaseModel]) -> list[str]:
        names = [f"{model.__name__}.{name}" for name, field in model.model_fields.items() if not field.description]
        return [name for name in names if not name.endswith((".kind", ".optimizer"))]

    sections = [field.annotation for field in RunConfig.model_fields.values()]
    models = [each for each in sections if isinstance(each, type)] + [CnnSection, MlpSection, SgdSection, AdamWSection]
    assert [name for model in models for name in undescribed(model)] == []


@pytest.mark.parametrize(
    ("epochs", "batch_size", "records", "steps"), [(1, 256, 60_000, 235), (2, 32, 64, 4), (3, 64, 10, 1)]
)
def test_epochs_are_rounded_up_to_whole_steps(epochs: int, batch_size: int, records: int, steps: int) -> None:
    text = CONFIG.replace("epochs = 3", f"epochs = {epochs}").replace(
        "batch_size = 32", f"batch_size = {batch_size}", 1
    )
    assert read_config(text.encode(), where="run.toml").train.total_steps(records) == steps
