"""Data that a function of the user's own reads: bound by digest like the files, and judged like every table."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from tests.ingest.conftest import REST, data_table

from reprise.artifacts.fetch import fetch
from reprise.audit.rebuild import bring_artifacts
from reprise.lock.model import Sources
from reprise.run_config import load_config
from reprise.snapshots import data_artifacts, prepare_snapshot
from reprise.store import Store
from reprise_trainer.config.model import OwnSection
from reprise_trainer.config.read import RunConfig
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.snapshot import OpenSnapshot, open_snapshot
from reprise_trainer.errors import InputError, NotFoundError, RefusedError
from reprise_trainer.training.plan import make_plan

EXAMPLE = Path(__file__).parents[2] / "examples" / "own-data" / "run.toml"

DATA = """
[data]
kind = "own"
name = "numbers"
reader = "mine.numbers:read"
options = { scale = 2 }
[data.code]
folder = "readers"
[data.files.train]
@ numbers.txt
[data.fields.value]
range = [0, 100]
[data.fields.label]
classes = ["even", "odd"]
"""

READER = """
from .words import WORDS


def read(path, *, scale):
    print("what a reader prints is no record")
    for number in map(int, path.read_text().split()):
        yield {"value": number * scale, "label": WORDS[number % 2]}
"""


@pytest.fixture
def readers(folder: Path) -> Path:
    """The folder of the reader's modules, and the file that it reads."""
    package = folder / "readers" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "words.py").write_text('WORDS = ("even", "odd")\n')
    (package / "numbers.py").write_text(READER)
    (folder / "numbers.txt").write_text("1 2 3 4 5 6 7 8\n")
    return package


def configured(folder: Path, data: str = DATA) -> RunConfig:
    (folder / "run.toml").write_text(data_table(data, folder) + REST)
    return load_config(folder / "run.toml").config


def made(folder: Path, store: Store, data: str = DATA) -> OpenSnapshot:
    config = configured(folder, data)
    fetch(data_artifacts(config.data, store, base=folder), store, Sources())
    snapshot = prepare_snapshot(config.data, store)
    return open_snapshot(snapshot.folder, expected=snapshot.digest)


def test_its_records_are_those_of_a_table_with_the_same_rows(readers: Path, folder: Path, store: Store) -> None:
    ours = made(folder, store)
    rows = "value,label\n" + "".join(f"{2 * number},{('even', 'odd')[number % 2]}\n" for number in range(1, 9))
    (folder / "numbers.csv").write_text(rows)
    table = DATA.replace('kind = "own"', 'kind = "csv"').replace("numbers.txt", "numbers.csv")
    for line in ('reader = "mine.numbers:read"\n', "options = { scale = 2 }\n", '[data.code]\nfolder = "readers"\n'):
        table = table.replace(line, "")
    csv = made(folder, store, table)
    assert ours.snapshot.root == csv.snapshot.root and ours.snapshot.fields == csv.snapshot.fields
    first, second = (Batches(each, "train", seed=1, batch_size=8).batch(0) for each in (ours, csv))
    assert first.fields["value"].tobytes() == second.fields["value"].tobytes()


def test_the_code_is_a_source_and_a_changed_reader_is_another_snapshot(
    readers: Path, folder: Path, store: Store, tmp_path: Path
) -> None:
    first = made(folder, store)
    assert made(folder, Store.open(tmp_path / "other")).digest == first.digest
    data = configured(folder).data
    assert data.kind == "own" and data.code.sha256 in {source.sha256 for source in first.snapshot.sources}
    assert first.snapshot.preprocessing[0].parameters["code"] == data.code.sha256

    (readers / "words.py").write_text('WORDS = ("even", "odd")  # the same records, by other code\n')
    changed = made(folder, store)
    assert changed.digest != first.digest and changed.snapshot.root == first.snapshot.root
    assert made(folder, store, DATA.replace("scale = 2", "scale = 3")).digest != first.digest

    pinned = DATA.replace('folder = "readers"', f'folder = "readers"\nsha256 = "{data.code.sha256}"')
    with pytest.raises(InputError, match=r"data\.code\.sha256 is .*, the folder 'readers' has"):
        configured(folder, pinned)


def test_an_audit_needs_the_store_alone(readers: Path, folder: Path, store: Store, tmp_path: Path) -> None:
    expected, config = made(folder, store), configured(folder)
    empty = Store.open(tmp_path / "empty")
    bring_artifacts(data_artifacts(config.data, store), store, empty, Sources())
    assert prepare_snapshot(config.data, empty).digest == expected.digest
    lacking = Store.open(tmp_path / "lacking")
    with pytest.raises(NotFoundError, match="is not in the store"):
        prepare_snapshot(config.data, lacking)


def test_the_trainer_refuses_a_snapshot_that_another_reader_made(readers: Path, folder: Path, store: Store) -> None:
    config, found = configured(folder), made(folder, store)
    make_plan(owned(config), found)
    (readers / "words.py").write_text('WORDS = ("odd", "even")\n')
    with pytest.raises(
        RefusedError, match=r"was made from .*readers\.tar .*, the configuration names .*the code readers"
    ):
        make_plan(owned(configured(folder)), found)


def owned(config: RunConfig) -> RunConfig:
    """The configuration with a model that takes any fields."""
    return config.model_copy(update={"model": OwnSection(kind="own", model="a:b", loss="a:c")})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("* scale", "* scale * 10", r"3 bad rows: numbers\.txt, row 5: value is 120\.0, expected 0 to 100"),
        ("WORDS[number % 2]", "'neither'", r"8 bad rows: numbers\.txt, row 0: label is 'neither', which is not one of"),
        ('"value": number * scale, ', "", r"row 0: there is no column 'value'"),
        ("number * scale", "{1}", r"record 0: TypeError: value is set, expected numbers, text, bytes"),
        ("yield {", "yield number, {", r"record 0: TypeError: it is tuple, expected a mapping"),
        ("WORDS[number % 2]", "WORDS[number]", r"record 1: IndexError: .* \(numbers\.py, line 8\)"),
        ("from .words", "from .nowhere", r"cannot be loaded: ModuleNotFoundError: No module named 'mine\.nowhere'"),
        ("def read(", "def reads(", r"cannot be loaded: AttributeError: .* has no attribute 'read'"),
        ("*, scale", "*, size", r"record 0: TypeError: read\(\) got an unexpected keyword argument 'scale'"),
        ("    print(", "    raise SystemExit(", r"record 0: SystemExit"),
        ("    print(", "    __import__('os').abort() or print(", r"the process ended with code -6 after 0 records"),
    ],
)  # fmt: skip
def test_what_a_reader_gets_wrong_is_named(
    readers: Path, folder: Path, store: Store, old: str, new: str, expected: str
) -> None:
    assert old in READER
    (readers / "numbers.py").write_text(READER.replace(old, new))
    with pytest.raises(InputError, match=expected):
        made(folder, store)
    assert not [path for path in store.cache.rglob("*") if path.name.startswith("reader-")]


def test_a_reader_sees_neither_this_process_nor_its_surroundings(
    readers: Path, folder: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (readers / "numbers.py").write_text(
        "import os, sys\n"
        "def read(path, *, scale):\n"
        "    assert 'A_TOKEN' not in os.environ and not os.listdir(), os.environ\n"
        "    assert 'reprise' not in sys.modules\n"
        "    words = {str(number) for number in range(50)}\n"  # a set's order follows from a key that is the same here
        "    for number in list(words)[:3]:\n"
        "        yield {'value': float(number), 'label': 0}\n"
    )
    first = made(folder, store)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert made(folder, Store.open(tmp_path / "other")).digest == first.digest
    assert os.environ["A_TOKEN"] == "secret"


def test_a_place_can_be_a_folder(readers: Path, folder: Path, store: Store) -> None:
    (folder / "days" / "deep").mkdir(parents=True)
    (folder / "days" / "a.txt").write_text("1")
    (folder / "days" / "deep" / "b.txt").write_text("2")
    (readers / "numbers.py").write_text(
        "def read(path, *, scale):\n"
        "    for file in sorted(path.rglob('*.txt')):\n"
        "        yield {'value': bytes([int(file.read_text())])[0], 'label': 'odd'}\n"
    )
    data = DATA.replace("numbers.txt", "days").replace('name = "numbers"', 'name = "numbers"\nfolders = true')
    assert made(folder, store, data).snapshot.split("train").records == 2


def test_the_example_gives_this_snapshot(store: Store) -> None:
    config = load_config(EXAMPLE).config
    data_artifacts(config.data, store, base=EXAMPLE.parent)
    snapshot = prepare_snapshot(config.data, store)
    assert snapshot.digest == "sha256:a847a615f04eca6f457057c59dd055ca6626deebbecce7e32395c5e97c74e75c"
    source = EXAMPLE.with_name("pictures.txt").read_bytes()
    assert hashlib.sha256(source).hexdigest() in EXAMPLE.read_text()
    assert make_plan(config, open_snapshot(snapshot.folder)).steps == 60
