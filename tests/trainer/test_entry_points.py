"""A user's functions: what is wrong with a module or a table of options is one message that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.trainer.conftest import CONFIG
from tests.trainer.own_models import held

from reprise_trainer.config.read import read_config
from reprise_trainer.entry_point import load_entry_point, require_options
from reprise_trainer.errors import InputError
from reprise_trainer.training.stages import load_stages


def model(key: object, *, width: int = 8) -> object:
    raise AssertionError("never called")


def loss(model: object, batch: object, key: object) -> object:
    raise AssertionError("never called")


def scaled(fields: object, *, by: int) -> object:
    raise AssertionError("never called")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", r"cannot be imported: ZeroDivisionError: division by zero \(.*broken.py:1\)"),
        ("def model(:", r"cannot be imported: SyntaxError: .*broken.py, line 1"),
        ("import nowhere_at_all", "cannot be loaded: No module named 'nowhere_at_all'"),
        ("model = 3", "is int, expected a function"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_message(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "broken", raising=False)
    with pytest.raises(InputError, match=f"model.model: .*{said}"):
        load_entry_point("broken:model", where="model.model")


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_an_option_that_a_model_does_not_take_is_named(backend: str) -> None:
    with pytest.raises(InputError, match=r"model\.options: .*unexpected keyword argument 'widht'; .*width"):
        held(__name__, "model", "loss", backend, widht=3)


@pytest.mark.parametrize(("options", "said"), [("{}", "missing a required .*'by'"), ("{by = 1, of = 2}", "'of'")])
def test_an_option_that_a_stage_does_not_take_is_named(options: str, said: str) -> None:
    text = f'\n[stages.preprocess]\nfunction = "{__name__}:scaled"\noptions = {options}\n'
    with pytest.raises(InputError, match=rf"stages\.preprocess\.options: .*{said}"):
        load_stages(read_config((CONFIG + text).encode(), where="x").stages)


def test_a_function_that_does_not_tell_its_parameters_is_let_in() -> None:
    require_options(dict, None, options={"a": 1}, where="x")
