from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reprise.audit.evidence import load_evidence, verify_evidence
from reprise.kept_runs import RUN_TYPE
from reprise.store import Store
from reprise_trainer.errors import NotFoundError
from reprise_trainer.identity.inventory import Inventory, image_bytes

FILES = ("record.sigstore.json", "delegation.sigstore.json", "ledger.jsonl")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def folder(run: Any, tmp_path: Path) -> Path:
    evidence = run.evidence()
    folder = tmp_path / "run"
    folder.mkdir()
    for name, data in zip(FILES, (evidence.record, evidence.delegation, evidence.ledger), strict=True):
        (folder / name).write_bytes(data)
    return folder


def test_a_runs_folder_and_its_record_file_name_the_same_run(run: Any, folder: Path, store: Store) -> None:
    by_folder, by_file = load_evidence(folder, store), load_evidence(folder / FILES[0], store)
    assert by_folder == by_file
    assert verify_evidence(by_folder, run.policy()).config.run.seed == 1


def test_a_run_in_the_store_is_named_by_its_digest(run: Any, store: Store) -> None:
    assert load_evidence(keep(store, run), store).ledger == run.ledger


def test_a_record_alone_is_completed_from_the_store(run: Any, folder: Path, store: Store) -> None:
    kept = keep(store, run, folder)
    for name in FILES[1:]:
        (folder / name).unlink()
    assert load_evidence(folder, store).ledger == load_evidence(kept, store).ledger


def test_a_file_beside_the_record_counts_before_the_stores(run: Any, folder: Path, store: Store) -> None:
    keep(store, run, folder)
    (folder / "delegation.sigstore.json").unlink()
    (folder / "ledger.jsonl").write_bytes(b"edited\n")
    assert load_evidence(folder, store).ledger == b"edited\n"


@pytest.mark.parametrize("name", FILES[1:])
def test_what_is_nowhere_is_named(folder: Path, store: Store, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(NotFoundError, match=name):
        load_evidence(folder, store)


def test_a_record_that_is_not_there_is_named(tmp_path: Path, store: Store) -> None:
    for reference in (tmp_path / "nothing", tmp_path, "sha256:" + "0" * 64):
        with pytest.raises(NotFoundError):
            load_evidence(reference, store)


@pytest.mark.parametrize("junk", [b"", b"[" * 100_000, b"{}", b"\xff"])
def test_a_junk_record_is_found_missing_its_parts_not_a_crash(folder: Path, store: Store, junk: bytes) -> None:
    (folder / FILES[0]).write_bytes(junk)
    (folder / FILES[1]).unlink()
    with pytest.raises(NotFoundError):
        load_evidence(folder, store)


def keep(store: Store, run: Any, folder: Path | None = None) -> str:
    """Keep the run in the store as a training does, with an image for it to point at."""
    made = image_bytes(Inventory((), {"architecture": "amd64", "os": "linux"}))
    image = store.put_manifest(made.manifest)
    evidence = run.evidence()
    contents = (evidence.record, evidence.delegation, evidence.ledger)
    if folder is not None:
        # the record's subject must be the image that the store has
        evidence = run.evidence(image={"digest": image, "files": 1, "bytes_hashed": 1, "milliseconds": 1})
        (folder / FILES[0]).write_bytes(evidence.record)
        contents = (evidence.record, evidence.delegation, evidence.ledger)
    files = [(name, "application/json", data) for name, data in zip(FILES, contents, strict=True)]
    return store.attach(image, RUN_TYPE, files)
