"""What a run left behind: its record, the delegation that vouches for the record, and its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from reprise.checkpoints import stored_checkpoint
from reprise.kept_runs import find_kept_run
from reprise.start import is_stored
from reprise.store import Store
from reprise.trust.delegation import VerifiedRecord, verify_record
from reprise.trust.proofs import SigstoreProofs
from reprise.trust.sign import stored_bundles
from reprise_trainer.canonical import DIGEST_PATTERN, sha256_digest
from reprise_trainer.config.read import RunConfig, read_config
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, RepriseError
from reprise_trainer.identity.bundle import Envelope, open_bundle
from reprise_trainer.identity.launch import CODE_FILE, DELEGATION_FILE, START_FOLDER
from reprise_trainer.identity.policy import Policy
from reprise_trainer.training.ledger import FILE_NAME as LEDGER_FILE
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE
from reprise_trainer.training.records.record import RunRecord, read_record


@dataclass(frozen=True, slots=True)
class Evidence:
    """The bytes of a run's documents, none of them checked yet; `where` says where they are from, `file` is the
    record's, where it is one. `code` is the archive of its own code, where it had some, and `start` the folder of the
    checkpoint that it started from, where it did; `store` may have that too, when the configuration names its digest.
    `copies` are bundles with the record's very signature, the fullest first: `reprise witness` adds such, and so can
    anybody, with a wrong log entry.
    """

    record: bytes
    delegation: bytes
    ledger: bytes
    where: str
    file: Path | None = None
    code: bytes | None = None
    start: Path | None = None
    store: Store | None = None
    copies: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifiedRun:
    """A run whose record is traced back to the policy, with its configuration (the record holds its text)."""

    record: RunRecord
    config: RunConfig
    config_bytes: bytes
    chain: VerifiedRecord
    code: bytes | None = None
    start: Path | None = None


def load_evidence(reference: str | Path, store: Store) -> Evidence:
    """Find a run's documents.

    Args:
        reference: a run's folder, its record file, or the digest of the run in the store.
        store: also has what a folder lacks, when the run was made with this store.

    Raises:
        NotFoundError: there is no such record, or its delegation or ledger is nowhere.
    """
    if DIGEST_PATTERN.match(str(reference)):
        digest = store.resolve(str(reference))
        files = store.files(digest)
        found = _evidence(files, {}, f"run {digest}")
        return replace(found, store=store, copies=_copies(found.record, store, digest))
    path = Path(reference)
    path = path / RECORD_FILE if path.is_dir() else path
    beside: dict[str, bytes] = {}
    for name, file in {name: path.with_name(name) for name in (DELEGATION_FILE, LEDGER_FILE, CODE_FILE)}.items():
        if file.is_file():
            beside[name] = _read(file)
    record = _read(path)
    stored = {} if {DELEGATION_FILE, LEDGER_FILE} <= beside.keys() else _stored_run(record, store)
    found = _evidence({**beside, RECORD_FILE: record}, stored, str(path))
    return replace(found, file=path, start=_start_beside(path), store=store)


def verify_evidence(evidence: Evidence, policy: Policy, at: datetime | None = None) -> VerifiedRun:
    """Check a run record: the chain from the policy to it, and that its own parts agree.

    Raises:
        InputError: a document is malformed.
        DoesNotHoldError: a signature, the delegation or a digest does not hold; the message says which.
    """
    chain = _chain(evidence, policy, at)
    record = read_record(chain.record.predicate)
    config_bytes = record.config_text.encode()
    for what, said, found in (
        ("measured image", record.image.digest, chain.delegation.image),
        ("delegation", record.delegation, sha256_digest(evidence.delegation)),
        ("configuration", record.config, sha256_digest(config_bytes)),
        ("last state", record.state, record.checkpoints[-1].state if record.checkpoints else "none"),
    ):
        if said != found:
            raise DoesNotHoldError(f"the run record's {what} is {said}, but what comes with it is {found}")
    config = read_config(config_bytes, where="the run record's configuration")
    return VerifiedRun(record, config, config_bytes, chain, _own_code(config, evidence), _start(config, evidence))


def _chain(evidence: Evidence, policy: Policy, at: datetime | None) -> VerifiedRecord:
    """The record's chain by the first of its copies that holds; where none does, what is wrong with the record."""
    proofs = SigstoreProofs(policy.root) if policy.needs_root else None
    for copy in evidence.copies:
        with suppress(DoesNotHoldError, InputError):
            return verify_record(copy, evidence.delegation, policy, at, proofs=proofs)
    return verify_record(evidence.record, evidence.delegation, policy, at, proofs=proofs)


def _own_code(config: RunConfig, evidence: Evidence) -> bytes | None:
    """The run's own code, once it is what the configuration pins.

    Raises:
        NotFoundError: it is nowhere.
        DoesNotHoldError: it is another.
    """
    if config.code is None:
        return None
    if evidence.code is None:
        raise NotFoundError(
            f"{evidence.where} comes without {CODE_FILE}, the code that the run imported",
            hint="It lies in the run's folder, and in the store that the run was made with (--store).",
        )
    found = sha256_digest(evidence.code)
    if found != f"sha256:{config.code.sha256}":
        raise DoesNotHoldError(f"{CODE_FILE} is {found}, the run's configuration says sha256:{config.code.sha256}")
    return evidence.code


def _start_beside(path: Path) -> Path | None:
    folder = path.with_name(START_FOLDER)
    return folder if folder.is_dir() else None


def _start(config: RunConfig, evidence: Evidence) -> Path | None:
    """The checkpoint that the run started from; the replay's trainer compares it with the configuration's digest.

    Raises:
        NotFoundError: it is nowhere.
        InputError: it is damaged in the store.
    """
    if config.start is None:
        return None
    if evidence.start is not None:
        return evidence.start
    if evidence.store is not None and is_stored(config.start):
        return stored_checkpoint(config.start.checkpoint, evidence.store).folder
    raise NotFoundError(
        f"{evidence.where} comes without {START_FOLDER}/, the checkpoint that the run started from",
        hint="It lies in the run's folder: audit that, or put the checkpoint there.",
    )


def _evidence(files: Mapping[str, bytes], more: Mapping[str, bytes], where: str) -> Evidence:
    found = {**more, **files}
    for name in (RECORD_FILE, DELEGATION_FILE, LEDGER_FILE):
        if name not in found:
            raise NotFoundError(
                f"{where} comes without {name}, and the store does not hold this run",
                hint="Name the folder that the run left, or the store that it was made with (--store).",
            )
    return Evidence(found[RECORD_FILE], found[DELEGATION_FILE], found[LEDGER_FILE], where, code=found.get(CODE_FILE))


def _stored_run(record: bytes, store: Store) -> dict[str, bytes]:
    run = find_kept_run(record, store)
    return {} if run is None else store.files(run)


def _copies(record: bytes, store: Store, run: str) -> tuple[bytes, ...]:
    """The referrers of a run with its record's signature (`reprise witness` keeps them so), the fullest first."""
    envelope = _envelope(record)
    same = [each for _, each in stored_bundles(store, run) if envelope and _envelope(each) == envelope]
    return tuple(sorted(same, key=len, reverse=True))


def _envelope(bundle: bytes) -> Envelope | None:
    try:
        return open_bundle(bundle)
    except RepriseError:
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot read {path}: {error.strerror}") from error
