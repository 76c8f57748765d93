"""A text becomes windows of character tokens that overlap in one stored array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ingest.conftest import Ingest

from reprise.ingest.text import read_text
from reprise_trainer.data.batches import Batches, open_columns
from reprise_trainer.errors import InputError

TEXT = "".join(f"{number}: the quick brown fox jumps.\n" for number in range(40)) + "für immer"
DATA = """
[data]
kind = "text"
name = "foxes"
block = 8
stride = {stride}
duplicates = "allow"
leakage = "allow"
@foxes.txt
"""


@pytest.mark.parametrize("stride", [1, 3, 8, 20])
def test_a_record_is_the_text_at_its_place(folder: Path, ingest: Ingest, stride: int) -> None:
    (folder / "foxes.txt").write_text(TEXT)
    source = ingest(DATA.format(stride=stride))
    field = source.snapshot.field("tokens")
    assert field.shape == (9,) and field.classes == tuple(sorted(set(TEXT))) and field.dtype == "uint8"
    column = open_columns(source, "train")["tokens"]
    records = source.snapshot.split("train").records
    assert records == (len(TEXT) - 9) // stride + 1
    for record in (0, 1, records // 2, records - 1):
        tokens = column.take(np.array([record]))[0]
        assert "".join(field.classes[token] for token in tokens) == TEXT[record * stride : record * stride + 9]


def test_a_batch_of_a_text_is_windows(folder: Path, ingest: Ingest) -> None:
    (folder / "foxes.txt").write_text(TEXT)
    batch = Batches(ingest(DATA.format(stride=1)), "train", seed=1, batch_size=32).batch(3)
    assert batch.fields["tokens"].shape == (32, 9)


def test_validation_is_the_end_of_the_text_and_overlaps_nothing(folder: Path, ingest: Ingest) -> None:
    (folder / "foxes.txt").write_text(TEXT)
    source = ingest(DATA.format(stride=3).replace("@", "splits = { validation = 20 }\n@"))
    train, validation = source.snapshot.split("train"), source.snapshot.split("validation")
    assert validation.records == 20 and validation.rule.kind == "tail"
    last_of_train = (train.records - 1) * 3 + 9
    first_of_validation = ((len(TEXT) - 9) // 3 + 1 - 20) * 3
    assert first_of_validation - 3 < last_of_train <= first_of_validation
    tokens = open_columns(source, "validation")["tokens"].take(np.array([0]))[0]
    classes = source.snapshot.field("tokens").classes or ()
    assert "".join(classes[token] for token in tokens) == TEXT[first_of_validation : first_of_validation + 9]


@given(text=st.text(min_size=12, max_size=300), block=st.integers(1, 11), stride=st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_no_token_is_lost_or_made_up(text: str, block: int, stride: int) -> None:
    text = text.replace("\r\n", "\n")
    if len(text) <= block:
        return
    reading = read_text(text.encode(), "text", block=block, stride=stride)
    (rows,) = reading.splits["train"]
    (field,) = reading.fields
    tokens = np.frombuffer(rows.columns["tokens"], field.dtype)
    assert text.startswith("".join((field.classes or ())[token] for token in tokens))
    assert len(tokens) == (len(rows.numbers) - 1) * stride + block + 1 > len(text) - stride


def test_a_text_in_another_encoding_or_too_short_is_refused(folder: Path, ingest: Ingest) -> None:
    (folder / "foxes.txt").write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(InputError, match=r"foxes.txt: not text in utf-8"):
        ingest(DATA.format(stride=3))
    (folder / "foxes.txt").write_bytes(b"12345678")
    with pytest.raises(InputError, match="8 characters are too few"):
        ingest(DATA.format(stride=3))


def test_repeated_windows_are_refused_unless_they_are_allowed(folder: Path, ingest: Ingest) -> None:
    (folder / "foxes.txt").write_text("abcdefgh" * 20)
    data = DATA.format(stride=8)
    with pytest.raises(InputError, match=r"train: foxes.txt, row 8 equals foxes.txt, row 0 \(train\)"):
        ingest(data.replace('duplicates = "allow"', ""))
    assert ingest(data).snapshot.split("train").duplicates == ingest(data).snapshot.split("train").records - 1
