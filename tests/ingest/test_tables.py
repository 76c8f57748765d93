"""CSV, JSON lines, Parquet and Hugging Face's tables: the same rows give the same records, wrong ones are named."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.ingest.conftest import Ingest

from reprise.store import Store
from reprise_trainer.data.batches import open_columns
from reprise_trainer.data.snapshot import OpenSnapshot
from reprise_trainer.errors import InputError

SPECIES = ["setosa", "versicolor", "virginica"]
ROWS = [{"length": 4.0 + number / 8, "width": number - 3.5, "species": SPECIES[number % 3]} for number in range(30)]
DATA = """
[data]
kind = "{kind}"
name = "flowers"
{rules}
[data.files.train]
@{file}
[data.fields.features]
columns = ["length", "width"]
range = [-10, 100]
[data.fields.label]
columns = ["species"]
classes = ["setosa", "versicolor", "virginica"]
"""


def data(kind: str, file: str, rules: str = "") -> str:
    return DATA.format(kind=kind, file=file, rules=rules)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_all(folder: Path, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The same rows in every form: kind → file."""
    write_csv(folder / "rows.csv", rows)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=7)
    features = {"length": datasets.Value("float64"), "width": datasets.Value("float64")}
    features["species"] = datasets.ClassLabel(names=SPECIES)
    made = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    made.save_to_disk(folder / "saved", num_shards=2)
    return {
        "csv": "rows.csv",
        "json-lines": "rows.jsonl.gz",
        "parquet": "rows.parquet",
        "hugging-face": "saved",
    }


def column(source: OpenSnapshot, field: str, split: str = "train") -> np.ndarray:
    return open_columns(source, split)[field].take(np.arange(source.snapshot.split(split).records))


def test_every_form_of_the_same_rows_gives_the_same_records(folder: Path, ingest: Ingest) -> None:
    roots = set()
    for kind, file in write_all(folder, ROWS).items():
        source = ingest(data(kind, file))
        assert column(source, "features").tolist() == [[row["length"], row["width"]] for row in ROWS]
        assert column(source, "label").tolist() == [SPECIES.index(row["species"]) for row in ROWS]
        assert source.snapshot.split("train").counts == {"label": (10, 10, 10)}
        assert source.snapshot.field("features").range == ((-3.5).hex(), (25.5).hex())
        roots.add(source.snapshot.root)
    # A change of this constant needs another number in reprise.snapshots.INGEST: old snapshots are made anew then.
    assert roots == {"ab1bc8f67a016c84ec4c876e86492e6877dbd3fc6b4699721b352e428854ea2b"}


def test_hugging_faces_splits_and_class_names_are_taken_over(folder: Path, ingest: Ingest) -> None:
    label = datasets.Features({"text": datasets.Sequence(datasets.Value("int32"), 2), "label": datasets.ClassLabel(2)})
    splits = {
        name: datasets.Dataset.from_dict({"text": [[start, 1], [start, 2]], "label": [0, 1]}, features=label)
        for name, start in (("train", 5), ("test", 6))
    }
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    source = ingest("""
[data]
kind = "hugging-face"
name = "pairs"
[data.files.all]
@saved
[data.fields.text]
dtype = "int32"
shape = [2]
[data.fields.label]
""")
    assert column(source, "text", "test").tolist() == [[6, 1], [6, 2]]
    assert source.snapshot.field("label").classes == ("0", "1")
    assert sorted(source.snapshot.splits) == ["test", "train"]


def test_images_in_a_table_are_decoded(folder: Path, ingest: Ingest) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 5, 6, 3), np.uint8)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    made = datasets.Dataset.from_dict({"image": list(pixels), "label": [0, 1, 0, 1]}, features=features)
    made.save_to_disk(folder / "saved")
    source = ingest("""
[data]
kind = "hugging-face"
name = "pictures"
[data.files.train]
@saved
[data.fields.image]
dtype = "uint8"
shape = [5, 6, 3]
[data.fields.label]
""")
    assert np.array_equal(column(source, "image"), pixels)


def write_pictures(path: Path, pixels: np.ndarray) -> None:
    """A Parquet file of PNGs, as Hugging Face's `Image` columns are stored."""
    files = [io.BytesIO() for _ in pixels]
    for file, each in zip(files, pixels, strict=True):
        Image.fromarray(each).save(file, "PNG")
    pq.write_table(pa.table({"image": [{"bytes": file.getvalue(), "path": None} for file in files]}), path)


PICTURES = """
[data]
kind = "parquet"
name = "pictures"
[data.files.train]
@rows
[data.fields.image]
"""


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("shape = [4, 4, 3]", r"column 'image' holds images, .* this one is float32.*\n.*`dtype = \"uint8\"`"),
        ('dtype = "uint8"\nshape = [4, 4, 3]\ncolumns = ["image", "image"]', "of 2 columns"),
    ],
    ids=["type", "columns"],
)
def test_an_image_in_a_field_that_cannot_hold_it_is_refused(
    folder: Path, ingest: Ingest, store: Store, rule: str, message: str
) -> None:
    write_pictures(folder / "rows", np.random.default_rng(1).integers(0, 256, (8, 4, 4, 3), np.uint8))
    with pytest.raises(InputError, match=message):
        ingest(PICTURES + rule)
    assert not list((store.cache / "snapshots").iterdir())


def test_an_image_of_sixteen_bits_in_a_table_is_bad(folder: Path, ingest: Ingest) -> None:
    write_pictures(folder / "rows", np.linspace(5000, 53000, 16).astype(np.uint16).reshape(1, 4, 4))
    with pytest.raises(InputError, match="1 bad row: rows, row 0: image: the image has mode I;16"):
        ingest(PICTURES + 'dtype = "uint8"\nshape = [4, 4]')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": None}, "features is missing"),
        ({"length": float("nan")}, "features is"),
        ({"width": -11.0}, "features is -11.0, expected -10 to 100"),
        ({"species": "rosa"}, "label is 'rosa', which is not one of setosa, versicolor, virginica"),
    ],
    ids=["missing", "nan", "range", "label"],
)
@pytest.mark.parametrize("kind", ["csv", "json-lines", "parquet"])
def test_a_bad_value_is_named_with_file_and_row(
    folder: Path, ingest: Ingest, kind: str, change: dict[str, Any], message: str
) -> None:
    rows = [row | (change if number == 4 else {}) for number, row in enumerate(ROWS)]
    if kind == "csv":
        write_csv(folder / "rows", rows)
    elif kind == "json-lines":
        (folder / "rows").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / "rows")
    row = {"csv": 6, "json-lines": 5, "parquet": 4}[kind]
    expected = "not JSON: NaN" if kind == "json-lines" and message == "features is" else message
    with pytest.raises(InputError, match=f"1 bad row: rows, row {row}: {expected}"):
        ingest(data(kind, "rows"))
    kept = ingest(data(kind, "rows", 'bad_rows = "drop"')).snapshot.split("train")
    assert (kept.records, kept.dropped) == (29, 1)


def test_a_label_must_be_in_its_range_as_well_as_in_its_classes(folder: Path, ingest: Ingest) -> None:
    write_csv(folder / "rows.csv", ROWS[:3])
    with pytest.raises(InputError, match=r"1 bad row: rows.csv, row 4: label is 2, expected 0 to 1"):
        ingest(data("csv", "rows.csv") + "range = [0, 1]")
    assert column(ingest(data("csv", "rows.csv") + "range = [-1, 9]"), "label").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("length,width,species\n1,2\n", r"row 2: 2 cells, the header has 3"),
        ("length,width,width\n", "expected a header that names each column once"),
        ("length,width\n1,2\n", "^rows.csv: there is no column 'species'; it has length, width$"),
        ("length,width,species\n1,x,setosa\n", "features is 'x', expected float32"),
        ('length,width,species\n1,"2,setosa\n', "not CSV in UTF-8"),
        ("length,width,species\n", "split 'train' has no record"),
    ],
)
def test_a_csv_file_that_does_not_fit_is_refused(folder: Path, ingest: Ingest, text: str, message: str) -> None:
    (folder / "rows.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        ingest(data("csv", "rows.csv"))


@pytest.mark.parametrize(
    ("cell", "dtype", "message"),
    [
        ("300", "uint8", "too large for uint8"),
        ("-1", "uint8", "too large for uint8"),
        ("1.5", "int32", "expected int32"),
        ("3000000000", "int32", "too large"),
    ],
)
def test_a_value_that_its_type_cannot_hold_is_bad(
    folder: Path, ingest: Ingest, cell: str, dtype: str, message: str
) -> None:
    (folder / "rows.csv").write_text(f"value\n{cell}\n")
    table = f'[data]\nkind = "csv"\nname = "n"\n[data.files.train]\n@rows.csv\n[data.fields.value]\ndtype = "{dtype}"'
    with pytest.raises(InputError, match=message):
        ingest(table)


@pytest.mark.parametrize(("kind", "file"), [("csv", "rows.csv"), ("json-lines", "rows.jsonl")])
def test_a_damaged_gzip_file_is_refused(folder: Path, ingest: Ingest, kind: str, file: str) -> None:
    write_all(folder, ROWS)
    packed = bytearray(gzip.compress((folder / "rows.csv").read_bytes()))
    packed[10] = 0xFF  # the first block's type: there is none of that number
    (folder / file).write_bytes(packed)
    with pytest.raises(InputError, match=rf"{file}, after row 0: not .* in UTF-8: .*invalid block type"):
        ingest(data(kind, file))


def test_a_file_that_changed_is_refused(folder: Path, ingest: Ingest) -> None:
    write_csv(folder / "rows.csv", ROWS)
    text = data("csv", "rows.csv").replace("@rows.csv", f'file = "rows.csv"\nsha256 = "{"0" * 64}"')
    with pytest.raises(InputError, match=r"its sha256 is .*, the configuration says 0000"):
        ingest(text)


@pytest.mark.parametrize("kind", ["parquet", "hugging-face"])
def test_a_file_of_another_kind_is_refused(folder: Path, ingest: Ingest, kind: str) -> None:
    write_csv(folder / "rows", ROWS)
    with pytest.raises(InputError, match="rows"):
        ingest(data(kind, "rows"))


def test_groups_are_counted_for_fairness(folder: Path, ingest: Ingest) -> None:
    write_csv(folder / "rows.csv", ROWS)
    source = ingest(data("csv", "rows.csv", 'groups = ["label"]\nbiases = "only three species"\nsplits = { test = 6 }'))
    assert source.snapshot.groups == ("label",) and source.snapshot.biases == "only three species"
    assert sum(source.snapshot.split("test").counts["label"]) == 6
