"""The configuration that a run gets: the file's text, with what `--set` changed in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprise.run_config import load_config
from reprise_trainer.config.overrides import parse_override
from reprise_trainer.config.read import read_config
from reprise_trainer.errors import InputError, NotFoundError

EXAMPLE = Path(__file__).parents[1] / "examples/fashion-mnist.toml"


def test_without_overrides_the_bytes_are_the_files() -> None:
    data, _ = load_config(EXAMPLE)
    assert data == EXAMPLE.read_bytes()


def test_an_override_changes_its_value_and_no_comment() -> None:
    data, parsed = load_config(EXAMPLE, [parse_override("run.seed=5"), parse_override("train.optimizer.beta1=0.5")])
    assert (parsed.run.seed, parsed.train.optimizer.model_dump()["beta1"]) == (5, 0.5)
    assert read_config(data, where="x") == parsed
    before, after = EXAMPLE.read_text().splitlines(), data.decode().splitlines()
    changed = [line for line in after if line not in before]
    assert changed == ["seed = 5", "beta1 = 0.5"]
    assert [line for line in before if line not in after] == ["seed = 1"]


def test_an_override_that_does_not_fit_is_named_and_nothing_is_made() -> None:
    with pytest.raises(InputError, match=r"run\.seed: .*greater than or equal to 0"):
        load_config(EXAMPLE, [parse_override("run.seed=-1")])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.toml"):
        load_config(Path("nowhere.toml"))
