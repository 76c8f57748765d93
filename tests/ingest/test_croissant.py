"""A snapshot's Croissant document is one: MLCommons' own library takes it, without an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import mlcroissant
import pytest
from tests.ingest.conftest import Ingest

from reprise.store import Store
from reprise_trainer.data.snapshot import OpenSnapshot

DATA = """
[data]
kind = "text"
name = "numbers"
block = 8
biases = "numbers only"
licence = "CC0-1.0"
splits = { validation = 20 }
@numbers.txt
"""


@pytest.fixture
def source(folder: Path, ingest: Ingest) -> OpenSnapshot:
    (folder / "numbers.txt").write_text(" ".join(map(str, range(500))))
    return ingest(DATA)


def test_mlcroissant_finds_no_error(source: OpenSnapshot) -> None:
    found = mlcroissant.Dataset(str(source.folder / "croissant.json"))
    assert not found.metadata.issues.errors
    assert found.metadata.name == "numbers" and found.metadata.license == ["CC0-1.0"]
    assert {each.id for each in found.metadata.record_sets} == {"splits", "train/tokens", "validation/tokens"}
    assert [record["splits/name"] for record in found.records("splits")] == ["train", "validation"]
    objects = [each for each in found.metadata.distribution if isinstance(each, mlcroissant.FileObject)]
    assert {each.content_url: each.sha256 for each in objects} == {
        str(path.relative_to(source.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in source.folder.glob("shards/*")
    }


def test_mlcroissant_would_find_one(source: OpenSnapshot) -> None:
    path = source.folder / "croissant.json"
    document = json.loads(path.read_bytes())
    del document["distribution"][0]["sha256"]
    path.write_text(json.dumps(document))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(str(path))


def test_the_document_is_derived_and_lies_in_the_store_too(source: OpenSnapshot, store: Store) -> None:
    document = (source.folder / "croissant.json").read_bytes()
    assert json.loads(document)["identifier"] == source.digest
    assert json.loads(document)["rai:dataBiases"] == "numbers only"
    (kept,) = [digest for digest in store.listed() if store.files(digest)]
    assert store.files(kept) == {"croissant.json": document}
