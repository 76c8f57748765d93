"""`[data]`: one table a kind, and every mistake is said in the words of the kind that was named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.ingest.conftest import REST

from reprise_trainer.config.data import TableSection, places
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.errors import InputError

CHECKOUT = Path(__file__).parents[2]
SHA256 = f'sha256 = "{"0" * 64}"'
FILES = f'[data.files.train]\nfile = "rows"\n{SHA256}\n'


def read(data: str) -> RunConfig:
    return read_config(f"[data]\nname = 'x'\n{data}\n{REST}".encode(), where="run.toml")


@pytest.mark.parametrize("kind", ["csv", "json-lines", "parquet", "hugging-face"])
def test_the_tables_kinds_share_one_form(kind: str) -> None:
    found = read(f"kind = '{kind}'\n{FILES}[data.fields.a]\nrange = [0, 1]").data
    assert isinstance(found, TableSection) and [place.file for place in places(found)] == ["rows"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("kind = 'cvs'", r"data.kind: expected one of 'fashion-mnist', 'text', 'csv', 'json-lines'"),
        ("kind = 'parquet'\nfilez = 1", r"data.files: missing.*data.filez: unknown key; did you mean 'files'"),
        (f"kind = 'csv'\n{FILES}[data.fields.a]\nrage = [1, 2]", r"data.fields.a.rage: .* did you mean 'range'"),
        (f"kind = 'csv'\n{FILES}artifact = 'pkg:a'", r"data.files.train: give either artifact or file"),
        (f"artifact = 'pkg:a'\n{SHA256}\nsplits = {{ test = 1.5 }}", r"data: splits.test is 1.5: give a number"),
        (f"artifact = 'pkg:a'\n{SHA256}\nsplits = {{ test = 0 }}", r"data: splits.test is 0: give a number"),
        (f"artifact = 'pkg:a'\n{SHA256}\nsplits = {{ Test = 5 }}", r"data.splits.Test"),
        ("artifact = 'pkg:a'\nsha256 = '1'", r"data.sha256: string should match"),
        ("kind = 'store'\nsnapshot = 'sha256:1'", r"data.snapshot: string should match"),
    ],
)
def test_a_mistake_is_named_with_its_key(data: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(data)


def test_the_examples_of_the_page_about_data_are_configurations() -> None:
    examples = re.findall(r"```toml\n(.*?)```", (CHECKOUT / "docs/data.md").read_text(), re.DOTALL)
    assert len(examples) >= 3
    for example in examples:
        whole = re.sub(r'"[0-9a-f]*…"', f'"{"0" * 64}"', example)
        read_config((whole + REST).encode(), where="docs/data.md")
