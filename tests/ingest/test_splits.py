"""Splits are part of the snapshot: made by a keyed rule, and no record is in two of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.ingest.rows import Reading, Rows
from reprise.ingest.write import Written, write_snapshot
from reprise_trainer.config.data import FashionMnistSection
from reprise_trainer.data.batches import open_columns
from reprise_trainer.data.snapshot import RecordField, Source, open_snapshot
from reprise_trainer.errors import InputError

FIELDS = (
    RecordField(name="image", dtype="uint8", shape=(2,)),
    RecordField(name="label", dtype="uint8", shape=(), classes=("even", "odd")),
)
SOURCE = Source(artifact="pkg:generic/numbers", sha256="0" * 64)


def rows(values: list[int], labels: list[int] | None = None, file: str = "numbers.csv") -> Rows:
    images = np.array(values, "<u2").tobytes()
    return Rows(file, range(2, len(values) + 2), {"image": images, "label": bytes(labels or [v % 2 for v in values])})


def write(folder: Path, given_rows: dict[str, list[Rows]], **rules: object) -> Written:
    section = FashionMnistSection.model_validate({"name": "numbers", "file": "x", "sha256": "0" * 64, **rules})
    return write_snapshot(folder, Reading(FIELDS, given_rows), section, [SOURCE])


def values(folder: Path, split: str) -> list[int]:
    taken = open_columns(open_snapshot(folder), split)["image"]
    count = open_snapshot(folder).snapshot.split(split).records
    return np.ascontiguousarray(taken.take(np.arange(count))).view("<u2").ravel().tolist()


def test_a_split_is_taken_by_a_keyed_rule_that_the_snapshot_records(tmp_path: Path) -> None:
    written = write(tmp_path / "a", {"train": [rows(list(range(1000)))]}, splits={"validation": 100, "test": 0.2})
    splits = written.snapshot.splits
    assert {name: split.records for name, split in splits.items()} == {"train": 700, "validation": 100, "test": 200}
    assert splits["test"].rule.model_dump() == {"kind": "lowest-keyed-hash", "source": "train", "key": "reprise"}
    parts = [values(tmp_path / "a", name) for name in splits]
    assert sorted(number for part in parts for number in part) == list(range(1000)) and all(
        part == sorted(part) for part in parts
    )
    write(tmp_path / "b", {"train": [rows(list(range(1000)))]}, splits={"validation": 100, "test": 0.2}, split_key="x")
    assert values(tmp_path / "b", "validation") != values(tmp_path / "a", "validation")


def test_the_sources_order_does_not_decide_who_is_in_validation(tmp_path: Path) -> None:
    forwards, backwards = list(range(500)), list(reversed(range(500)))
    write(tmp_path / "a", {"train": [rows(forwards)]}, splits={"validation": 50})
    write(tmp_path / "b", {"train": [rows(backwards[:200]), rows(backwards[200:])]}, splits={"validation": 50})
    assert values(tmp_path / "a", "validation") == sorted(values(tmp_path / "b", "validation"))


@given(st.lists(st.integers(0, 30), min_size=10, max_size=60), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_equal_records_never_lie_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], count: int
) -> None:
    folder = tmp_path_factory.mktemp("case") / "snapshot"
    try:
        written = write(folder, {"train": [rows(numbers)]}, splits={"validation": count}, duplicates="allow")
    except InputError as error:
        assert "no record" in error.message
        return
    train, validation = values(folder, "train"), values(folder, "validation")
    assert not set(train) & set(validation) and sorted(train + validation) == sorted(numbers)
    assert written.snapshot.splits["train"].duplicates == len(train) - len(set(train))
    assert written.snapshot.leaks == 0


def test_leakage_names_file_and_row_on_both_sides(tmp_path: Path) -> None:
    splits = {"train": [rows([1, 2, 3], file="train.csv")], "test": [rows([9, 2], [1, 1], file="test.csv")]}
    # The same image under another label is leakage too.
    with pytest.raises(InputError, match=re.escape("test: test.csv, row 3 equals train.csv, row 3 (train)")):
        write(tmp_path / "a", splits)
    assert not (tmp_path / "a").exists() and list(tmp_path.iterdir()) == []
    assert write(tmp_path / "a", splits, leakage="allow").snapshot.leaks == 1


def test_duplicates_name_file_and_row_on_both_sides(tmp_path: Path) -> None:
    splits = {"train": [rows([1, 2], file="a.csv"), rows([5, 1], file="b.csv")]}
    with pytest.raises(InputError, match=re.escape("train: b.csv, row 3 equals a.csv, row 2 (train)")):
        write(tmp_path / "a", splits)
    assert write(tmp_path / "a", splits, duplicates="allow").snapshot.split("train").duplicates == 1


def test_a_record_may_be_a_duplicate_and_a_leak(tmp_path: Path) -> None:
    splits = {"train": [rows([1, 2], file="train.csv")], "test": [rows([1, 1, 3], file="test.csv")]}
    with pytest.raises(InputError, match=re.escape("test: test.csv, row 3 equals test.csv, row 2 (test)")):
        write(tmp_path / "a", splits, leakage="allow")
    allowed = write(tmp_path / "a", splits, leakage="allow", duplicates="allow").snapshot
    assert {name: split.duplicates for name, split in allowed.splits.items()} == {"train": 0, "test": 1}
    assert allowed.leaks == 2


def test_a_snapshot_that_its_document_belies_is_never_left_behind(tmp_path: Path) -> None:
    short = Rows("numbers.csv", [2, 3], {"image": b"abc", "label": b"\0\1"})
    with pytest.raises(InputError, match="3 bytes for 2 records of field image"):
        write(tmp_path / "a", {"train": [short]})
    assert list(tmp_path.iterdir()) == []


def test_bad_rows_are_named_or_dropped_and_counted(tmp_path: Path) -> None:
    splits = {"train": [rows([1, 2, 3, 4], [0, 7, 1, 2])]}
    with pytest.raises(InputError, match=r"2 bad rows: numbers.csv, row 3: label is 7, expected 0 to 1; .*row 5"):
        write(tmp_path / "a", splits)
    split = write(tmp_path / "a", splits, bad_rows="drop").snapshot.split("train")
    assert (split.records, split.dropped, split.counts["label"]) == (2, 2, (1, 1))
    assert values(tmp_path / "a", "train") == [1, 3]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"test": 1}, "the data have a split 'test' of their own"),
        ({"validation": 4}, "takes 4 records out of 'train', which has 4"),
        ({"validation": 0.5, "more": 3}, "takes 5 records"),
    ],
)
def test_a_split_that_cannot_be_is_refused(tmp_path: Path, wanted: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        write(tmp_path / "a", {"train": [rows([1, 2, 3, 4])], "test": [rows([9])]}, splits=wanted)


def test_a_group_must_be_a_field_with_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'image' is not a field with classes"):
        write(tmp_path / "a", {"train": [rows([1])]}, groups=["image"])
    assert write(tmp_path / "a", {"train": [rows([1, 2, 4])]}, groups=["label"]).snapshot.groups == ("label",)
