"""Records that a log or a time stamper vouches for, in a folder and in a store, and policies that ask for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from keyless_signing import root_of
from private_sigstore import PrivateSigstore, private_sigstore
from sigstore.models import ClientTrustConfig
from small_image import Entry, make_image

from reprise.audit.evidence import load_evidence, verify_evidence
from reprise.kept_runs import RUN_TYPE
from reprise.store import Store
from reprise.trust.proofs import SigstoreProofs
from reprise.trust.sign import attach_bundle
from reprise.trust.witness import Witnesses
from reprise.trust.witness_services import services_of
from reprise.witness import is_run, witness_run
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.identity.bundle import BUNDLE_TYPE, RUN_RECORD, open_bundle
from reprise_trainer.identity.delegation import format_time
from reprise_trainer.identity.launch import DELEGATION_FILE
from reprise_trainer.identity.policy import Policy
from reprise_trainer.training.ledger import FILE_NAME as LEDGER_FILE
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE
from reprise_trainer.training.records.record import RunKey, sign_record

from .conftest import MadeRun

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between two questions take no time."""
    monkeypatch.setattr("reprise.trust.witness_services.sleep", lambda seconds: None)


@pytest.fixture(scope="module")
def sigstore() -> Iterator[PrivateSigstore]:
    with private_sigstore(timestamps=True) as instance:
        yield instance


def witnesses(sigstore: PrivateSigstore) -> Witnesses:
    config = ClientTrustConfig.from_json(json.dumps(sigstore.trust_config()))
    return Witnesses(services_of(config), SigstoreProofs(root_of(sigstore)))


def asking(run: MadeRun, sigstore: PrivateSigstore, **asked: bool) -> Policy:
    root = root_of(sigstore)
    return replace(run.policy(), root=root, trusted_root=sha256_digest(root), **asked)


@pytest.fixture
def folder(run: MadeRun, tmp_path: Path) -> Path:
    """A run's folder, whose delegation is of now: what is proven today has to lie in its time."""
    place = tmp_path / "run"
    place.mkdir()
    delegation = run.delegation(now=NOW - timedelta(minutes=1))
    record = record_of(run, delegation, finished=format_time(NOW))
    for name, data in ((RECORD_FILE, record), (DELEGATION_FILE, delegation), (LEDGER_FILE, run.ledger)):
        (place / name).write_bytes(data)
    return place


def record_of(run: MadeRun, delegation: bytes, **changes: Any) -> bytes:
    key = RunKey(run.key, sha256_digest(delegation))
    return sign_record(run.record(delegation, **changes), key, subject="torch-cpu")


def kept(folder: Path, store: Store) -> str:
    """The run in a store, as a launcher keeps it: an artifact of its image."""
    files = [(each.name, BUNDLE_TYPE, each.read_bytes()) for each in sorted(folder.iterdir())]
    return store.attach(make_image(store, {"base": {"etc/name": Entry(b"x")}}).digest, RUN_TYPE, files)


def test_a_record_is_witnessed_in_its_folder_and_then_meets_a_policy_that_asks_for_it(
    run: MadeRun, sigstore: PrivateSigstore, folder: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    policy, before = asking(run, sigstore, log=True, time=True), (folder / RECORD_FILE).read_bytes()
    with pytest.raises(DoesNotHoldError, match="the run record: it has no entry in a log") as caught:
        verify_evidence(load_evidence(folder, store), policy)
    assert "reprise witness" in caught.value.hint
    sigstore.down.add("/api/v1/log/entries")
    report = witness_run(folder, store, policy, witnesses(sigstore))
    assert report.failed and not report.complete
    sigstore.down.clear()
    with pytest.raises(DoesNotHoldError, match="no entry in a log"):
        verify_evidence(load_evidence(folder, store), policy)
    report = witness_run(folder, store, policy, witnesses(sigstore))
    assert report.complete and is_run(str(folder), store)
    assert open_bundle((folder / RECORD_FILE).read_bytes()) == open_bundle(before)
    found = verify_evidence(load_evidence(folder, store), policy).chain
    assert found.witnessed.logged and found.judged_at == found.witnessed.time
    assert abs((found.judged_at - datetime.now(UTC)).total_seconds()) < 120


def test_a_run_in_a_store_gets_a_referrer_and_stays_what_it_is(
    run: MadeRun, sigstore: PrivateSigstore, folder: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    digest = kept(folder, store)
    policy = asking(run, sigstore, log=True)
    assert is_run(digest, store) and not is_run(store.manifest(digest)["subject"]["digest"], store)
    assert witness_run(digest, store, policy, witnesses(sigstore)).complete
    assert len(store.referrers(digest)) == 1
    assert verify_evidence(load_evidence(digest, store), policy).chain.witnessed.logged
    requests = list(sigstore.requests)
    assert witness_run(digest, store, policy, witnesses(sigstore)).complete
    assert sigstore.requests == requests and len(store.referrers(digest)) == 1


@pytest.mark.parametrize(
    "junk",
    [
        {"tlogEntries": [{"junk": "x" * 20_000}]},
        {"timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "x" * 20_000}]}},
    ],
    ids=["log entry", "time stamp"],
)
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_longer_copy_with_junk_beside_a_record_harms_nobody(
    run: MadeRun, sigstore: PrivateSigstore, folder: Path, tmp_path: Path, first: bool, junk: dict[str, Any]
) -> None:
    store = Store.open(tmp_path / "store")
    digest, policy = kept(folder, store), asking(run, sigstore, log=True, time=True)
    document = json.loads((folder / RECORD_FILE).read_bytes())
    document["verificationMaterial"] |= junk
    if first:
        attach_bundle(store, digest, json.dumps(document).encode(), RUN_RECORD)
        with pytest.raises(DoesNotHoldError, match="the run record: it has no entry in a log"):
            verify_evidence(load_evidence(digest, store), policy)
    assert witness_run(digest, store, policy, witnesses(sigstore)).complete
    if not first:
        attach_bundle(store, digest, json.dumps(document).encode(), RUN_RECORD)
    assert verify_evidence(load_evidence(digest, store), policy).chain.witnessed.logged
    assert witness_run(digest, store, policy, witnesses(sigstore)).complete
    assert len(store.referrers(digest)) == 2


def test_the_time_that_others_prove_decides_whether_the_run_s_key_was_still_good(
    run: MadeRun, sigstore: PrivateSigstore, folder: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    delegation = run.delegation(now=NOW - timedelta(days=8))  # over since yesterday
    record = record_of(run, delegation, finished=format_time(NOW - timedelta(days=2)))  # in time, by its own word
    (folder / DELEGATION_FILE).write_bytes(delegation)
    (folder / RECORD_FILE).write_bytes(record)
    assert witness_run(folder, store, run.policy(), witnesses(sigstore)).complete
    assert verify_evidence(load_evidence(folder, store), run.policy())
    with pytest.raises(DoesNotHoldError, match="expired"):
        verify_evidence(load_evidence(folder, store), asking(run, sigstore, time=True))


def test_a_record_that_nobody_vouches_for_is_not_witnessed(
    stranger: MadeRun, sigstore: PrivateSigstore, folder: Path, tmp_path: Path
) -> None:
    requests = list(sigstore.requests)
    with pytest.raises(DoesNotHoldError, match="not by a known key"):
        witness_run(folder, Store.open(tmp_path / "store"), stranger.policy(), witnesses(sigstore))
    assert sigstore.requests == requests


def test_the_entry_of_another_record_proves_nothing(
    run: MadeRun, sigstore: PrivateSigstore, folder: Path, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "store")
    before = json.loads((folder / RECORD_FILE).read_bytes())
    witness_run(folder, store, run.policy(), witnesses(sigstore))
    done = json.loads((folder / RECORD_FILE).read_bytes())
    other = record_of(run, (folder / DELEGATION_FILE).read_bytes(), seed=2)
    moved = {**json.loads(other), "verificationMaterial": done["verificationMaterial"]}
    assert before["dsseEnvelope"] == done["dsseEnvelope"] != moved["dsseEnvelope"]
    (folder / RECORD_FILE).write_text(json.dumps(moved))
    with pytest.raises(DoesNotHoldError, match="the run record: the log entry is about another signature"):
        verify_evidence(load_evidence(folder, store), asking(run, sigstore, log=True))
