"""`--set`, and the explanation of where each value came from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.trainer.conftest import CONFIG, environment

from reprise_trainer.config.explain import explain
from reprise_trainer.config.overrides import Override, apply_overrides, parse_override
from reprise_trainer.config.read import read_config
from reprise_trainer.errors import InputError

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.optimizer.lr=0.5", 0.5),
        ("run.seed=3", 3),
        ("run.profile=portable", "portable"),
        ('run.profile="portable"', "portable"),
        ("model.channels=[1, 2]", [1, 2]),
        ("a.b=true", True),
        ("a.b=", ""),
        ("a.b=x=y", "x=y"),
    ],
)
def test_a_value_is_toml_or_else_text(text: str, value: object) -> None:
    assert parse_override(text) == Override(text.partition("=")[0], value)


@pytest.mark.parametrize("text", ["", "lr", "=3", "a..b=1", "a b=1", ".a=1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected KEY=VALUE"):
        parse_override(text)


@pytest.mark.parametrize("value", ["1" * 5000, "[" * 5000])
def test_a_value_that_no_reader_takes_is_refused(value: str) -> None:
    with pytest.raises(InputError, match=r"--set run\.seed: not a value to be read") as refused:
        parse_override(f"run.seed={value}")
    assert len(refused.value.message) < 300


@given(path=st.lists(NAMES, min_size=1, max_size=4), value=st.integers() | st.booleans() | st.text())
def test_a_set_key_is_found_at_its_place(path: list[str], value: object) -> None:
    document: dict[str, object] = {}
    apply_overrides(document, [Override(".".join(path), value)])
    found: object = document
    for name in path:
        assert isinstance(found, dict) and list(found) == [name]
        found = found[name]
    assert found == value


def test_a_length_in_steps_takes_the_place_of_one_in_epochs() -> None:
    document = {"train": {"epochs": 2, "shards": 4}}
    apply_overrides(document, [Override("train.steps", 3)])
    assert document == {"train": {"steps": 3, "shards": 4}}
    apply_overrides(document, [Override("train.epochs", 1)])
    assert document == {"train": {"epochs": 1, "shards": 4}}
    apply_overrides(document, [Override("train.epochs", 1), Override("train.steps", 3)])
    assert document["train"] == {"epochs": 1, "steps": 3, "shards": 4}  # both were asked for: refused by the section


def test_a_way_through_a_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"--set a\.b\.c: b is not a table"):
        apply_overrides({"a": {"b": 1}}, [Override("a.b.c", 2)])


def test_an_override_is_judged_like_the_file() -> None:
    assert read_config(CONFIG.encode(), where="x", overrides=[parse_override("run.seed=9")]).run.seed == 9
    with pytest.raises(InputError, match=r"run\.sed: unknown key; did you mean 'seed'"):
        read_config(CONFIG.encode(), where="x", overrides=[parse_override("run.sed=9")])


def test_each_effective_value_has_its_source() -> None:
    overrides = [parse_override("train.optimizer.lr=0.5")]
    rows = explain(
        read_config(CONFIG.encode(), where="run.toml", overrides=overrides), where="run.toml", overrides=overrides
    )
    found = {row.key: (row.value, row.source) for row in rows}
    assert found["train.optimizer.lr"] == (0.5, "--set")
    assert found["run.seed"] == (7, "run.toml")
    assert found["run.profile"] == ("x86-64-v3", "default")
    assert found["train.optimizer.beta1"] == (0.9, "default")
    assert all(row.meaning for row in rows if not row.key.endswith("kind"))


def test_dates_in_a_table_of_ones_own_are_explained_as_toml_writes_them() -> None:
    text = "{a = 2020-01-31, b = [2020-01-31T12:00:00Z], c = 12:00:00}"
    own = CONFIG + f'\n[stages.report]\nfunction = "mine:report"\noptions = {text}\n'
    rows = {row.key: row.as_json() for row in explain(read_config(own.encode(), where="x"), where="x")}
    shown = {"a": "2020-01-31", "b": ["2020-01-31T12:00:00+00:00"], "c": "12:00:00"}
    assert json.loads(json.dumps(rows["stages.report.options"]))["value"] == shown


def test_the_verb_explains_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(CONFIG)
    argv = [sys.executable, "-m", "reprise_trainer", "config", str(path), "--set", "run.seed=8", "--json"]
    process = subprocess.run(argv, env=environment(), check=True, capture_output=True, text=True)
    rows = {row["key"]: row for row in json.loads(process.stdout)}
    assert rows["run.seed"]["value"] == 8 and rows["run.seed"]["source"] == "--set"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["config"], "required: CONFIG"),
        (["confg"], "invalid choice"),
        (["config", "nowhere.toml"], "cannot read the configuration nowhere.toml"),
        (["config", "/dev/null"], "run: missing"),
    ],
)
def test_a_wrong_command_line_is_one_message(arguments: list[str], message: str) -> None:
    argv = [sys.executable, "-m", "reprise_trainer", *arguments]
    process = subprocess.run(argv, env=environment(), check=False, capture_output=True, text=True)
    assert process.returncode != 0
    assert process.stderr.startswith("error: ") and message in process.stderr and "Traceback" not in process.stderr
