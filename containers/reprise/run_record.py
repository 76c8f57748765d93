"""What a run has left in its folder, judged: its record, and whether the run is finished and all of it still there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from reprise.events import OnEvent
from reprise.run_folder import BegunRun
from reprise.trust.delegation import VerifiedRecord, verify_record
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.errors import DoesNotHoldError, NotFoundError, RepriseError
from reprise_trainer.identity.bundle import read_public_key
from reprise_trainer.identity.launch import CONFIG_FILE, DELEGATION_FILE
from reprise_trainer.identity.policy import Policy
from reprise_trainer.reporting.report import JSON_NAME, MARKDOWN_NAME, markdown, report
from reprise_trainer.training.checkpoints.names import CHECKPOINTS, DOCUMENT, checkpoint_folders
from reprise_trainer.training.checkpoints.signature import verify_checkpoint_signature
from reprise_trainer.training.ledger import FILE_NAME as LEDGER_FILE
from reprise_trainer.training.ledger import verify_ledger
from reprise_trainer.training.records.own_report import REPORT, report_key
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE
from reprise_trainer.training.records.record import RunRecord, read_record
from reprise_trainer.training.records.results import kept_result


def check_record(folder: Path, policy: Policy) -> RunRecord:
    """The run record in a run's folder, once the way from it to the policy's key holds.

    Raises:
        NotFoundError: the record or the delegation is not there.
        DoesNotHoldError: a signature does not hold.
    """
    return read_record(_verified(folder, policy).record.predicate)


def finished_run(begun: BegunRun, snapshot: str, policy: Policy, on_event: OnEvent) -> RunRecord | None:
    """The record of a run that has finished, where all that it left is what its record says; so no stage is to be done.

    Args:
        begun: the run, as its folder tells.
        snapshot: digest of the snapshot that it would go on with.
        policy: what the record is judged by.
        on_event: told that the stages' results are taken, or why they are not.

    Returns:
        The record; None where the run has left none, or something of it is missing or does not hold: then it goes on.
    """
    if not (begun.folder / RECORD_FILE).is_file():
        return None
    try:
        record = _finished(begun, snapshot, policy)
    except RepriseError as error:
        on_event({"event": "checked", "message": f"the run has a record, and goes on all the same: {error.message}"})
        return None
    on_event({"event": "reused", "stage": "all", "message": "train, evaluate, report: unchanged, reused"})
    return record


def _finished(begun: BegunRun, snapshot: str, policy: Policy) -> RunRecord:
    folder, chain = begun.folder, _verified(begun.folder, policy)
    record = read_record(chain.record.predicate)
    for what, said, found in (
        ("run", record.run, begun.run),
        ("image", record.image.digest, begun.image),
        ("configuration", record.config, sha256_digest(begun.config)),
        ("snapshot", record.snapshot, snapshot),
    ):
        if said != found:
            raise DoesNotHoldError(f"its {what} is {said}, this one is {found}")
    verify_ledger(_read(folder / LEDGER_FILE), record.ledger.head)
    _require_last_checkpoint(folder, record, chain)
    for name, data in (
        (JSON_NAME, canonical_json(report(record))),
        (MARKDOWN_NAME, markdown(record).encode()),
    ):
        if _read(folder / name) != data:
            raise DoesNotHoldError(f"{folder / name} is not the report of its record")
    _require_own_report(folder, record, read_config(begun.config, where=CONFIG_FILE))
    return record


def _require_last_checkpoint(folder: Path, record: RunRecord, chain: VerifiedRecord) -> None:
    """The state that the record ends with is there, as the run's key has signed it."""
    last = next(iter(checkpoint_folders(folder / CHECKPOINTS)), None)
    if last is None:
        raise NotFoundError(f"{folder} has no checkpoint")
    verify_checkpoint_signature(last, read_public_key(chain.delegation.public_key))
    state = json.loads(_read(last / DOCUMENT))["state"]  # as the trainer wrote it: it is signed
    if state != record.state:
        raise DoesNotHoldError(f"{last} holds state {state}, the record ends with {record.state}")


def _require_own_report(folder: Path, record: RunRecord, config: RunConfig) -> None:
    """The user's own report, if there is one, was written to its end from this record, and its files are the same."""
    if config.stages is None or config.stages.report is None:
        return
    kept = kept_result(folder, REPORT, report_key(record, config))
    if kept is None:
        raise NotFoundError("its own report was not written to the end")
    for name, sha256 in kept["files"].items():
        if hashlib.sha256(_read(folder / name)).hexdigest() != sha256:
            raise DoesNotHoldError(f"{folder / name} was changed since its own report wrote it")


def _verified(folder: Path, policy: Policy) -> VerifiedRecord:
    return verify_record(_read(folder / RECORD_FILE), _read(folder / DELEGATION_FILE), policy)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}; a run leaves it in its folder") from error
