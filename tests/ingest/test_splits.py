"""Splits are part of the snapshot: made by a keyed rule, and no record is in two of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.ingest.rows import Reading, Rows
from reprise.ingest.values import as_compared
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


def write_floats(folder: Path, numbers: dict[str, list[float]], **rules: object) -> Written:
    section = FashionMnistSection.model_validate({"name": "numbers", "file": "x", "sha256": "0" * 64, **rules})
    field = RecordField(name="value", dtype="float32", shape=(2,))
    parts = {name: np.array([[1, each] for each in given], "<f4") for name, given in numbers.items()}
    read = {name: [Rows(f"{name}.csv", range(len(each)), {"value": each.tobytes()})] for name, each in parts.items()}
    return write_snapshot(folder, Reading((field,), read), section, [SOURCE])


def test_negative_zero_equals_zero_and_is_stored_as_it_came(tmp_path: Path) -> None:
    splits = {"train": [0.0, 1.0, -2.0], "test": [2.0, -0.0]}
    with pytest.raises(InputError, match=re.escape("test: test.csv, row 1 equals train.csv, row 0 (train)")):
        write_floats(tmp_path / "a", splits)
    with pytest.raises(InputError, match=r"row 1 equals train.csv, row 0 "):
        write_floats(tmp_path / "a", {"train": [-0.0, 0.0]})
    assert write_floats(tmp_path / "a", splits, leakage="allow").snapshot.leaks == 1
    stored = open_columns(open_snapshot(tmp_path / "a"), "test")["value"].take(np.arange(2))
    assert np.signbit(stored[:, 1]).tolist() == [False, True]


def test_a_zeros_sign_parts_no_equal_records_and_moves_no_other(tmp_path: Path) -> None:
    numbers = [-0.0, *map(float, range(1, 40))]
    written = write_floats(tmp_path / "a", {"train": numbers}, splits={"test": 10}, split_key="a")
    # As before -0.0 equalled 0.0: a change of this constant is a change of snapshots that were right.
    assert written.snapshot.root == "6bcb6597ecbf304bbd610cf36ffe8ea3d9b356d7ed9febf64c2d9ebab4b71f56"
    for seed in range(20):  # whichever comes first: the two are never parted
        folder = tmp_path / f"{seed}"
        numbers = [*np.random.default_rng(seed).permutation([-0.0, 0.0, 0.0, *range(1, 8)])]
        write_floats(folder, {"train": numbers}, splits={"test": 5}, split_key=str(seed), duplicates="allow")
        zeros = []
        for split in ("train", "test"):
            count = open_snapshot(folder).snapshot.split(split).records
            column = open_columns(open_snapshot(folder), split)["value"].take(np.arange(count))[:, 1]
            zeros.append(int((column == 0).sum()))
        assert sorted(zeros) == [0, 3]


@given(st.lists(st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, -2.0, 1.0])))
def test_equality_sees_the_values_with_every_zero_positive(numbers: list[float]) -> None:
    given_values = np.array(numbers, "<f4")
    field = RecordField(name="value", dtype="float32", shape=())
    assert as_compared(field, given_values.tobytes()) == (given_values + np.float32(0)).tobytes()


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
