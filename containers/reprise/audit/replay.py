"""The real steps of an audit, in a workshop: an empty store that is thrown away afterwards."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reprise.audit.compare import compare_digests, record_metrics
from reprise.audit.evidence import VerifiedRun, load_evidence
from reprise.audit.machines import doubt, obstacle
from reprise.audit.rebuild import bring_artifacts, rebuild_image
from reprise.audit.report import AuditReport, Part
from reprise.audit.steps import Replayed, Steps, audit_run
from reprise.engine.interface import EngineName
from reprise.events import OnEvent, ignore
from reprise.run_record import check_record
from reprise.snapshots import StoredSnapshot, data_artifacts, prepare_snapshot
from reprise.store import Store
from reprise.stored_image import read_image_lock, read_inventory
from reprise.train import Launcher, run_training
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise_trainer.durable import storage_error
from reprise_trainer.identity.bundle import SigningKey
from reprise_trainer.training.ledger import FILE_NAME as LEDGER_FILE


def audit(
    record: str | Path, auditor: Launcher, *, at: datetime | None = None, on_event: OnEvent = ignore
) -> AuditReport:
    """Audit a run: check its record, rebuild its image in an empty store, make its snapshot again, replay it, compare.

    Args:
        record: the run's folder, its record.sigstore.json, or the run's digest in the store.
        auditor: the store that holds the run's image with its lock and source (only a folder of its cache is written,
            and removed in the end), the policy whose delegations count, and the engine. The key is not used: the
            replay is delegated by a key made for the audit.
        at: the time (with a time zone) at which the delegation's expiry is judged; by default when the run finished.
        on_event: told of phases and progress.

    Returns:
        The report; its verdict is the answer.

    Raises:
        NotFoundError: a document of the run, its image, lock or source is nowhere.
        UnavailableError: an artifact is nowhere to be had.
        SystemFailureError: the engine does not work here.
        StorageError: the disk is full.
    """
    evidence = load_evidence(record, auditor.store)
    with workshop_folder(auditor.store.cache) as folder:
        empty = Store.open(folder / "store")
        workshop = Workshop(auditor.store, empty, folder, auditor.engine, make_key(), on_event)
        return audit_run(evidence, auditor.policy, workshop.steps(), at=at, on_event=on_event)


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where an audit works: `store` is only read, `empty` is filled, `folder` holds what the replay leaves. The key is
    the audit's own: it signs the rebuilt image and the replay's delegation, which nobody else ever sees."""

    store: Store
    empty: Store
    folder: Path
    engine: EngineName
    key: SigningKey
    on_event: OnEvent

    def steps(self) -> Steps:
        """The steps that `audit_run` takes."""
        return Steps(self.rebuild, self.remake, self.replay, obstacle, doubt)

    def rebuild(self, run: VerifiedRun) -> Part:
        """Build the image from its lock, and compare."""
        return rebuild_image(run.record.image.digest, self.store, self.empty, on_event=self.on_event)

    def remake(self, run: VerifiedRun) -> Part:
        """Make the snapshot from its artifact, and compare."""
        snapshot = self._snapshot(run)
        return compare_digests(run.record.snapshot, snapshot.digest, "the snapshot made again")

    def replay(self, run: VerifiedRun) -> Replayed:
        """Run the same configuration again, in the rebuilt image on the snapshot made again."""
        image = run.record.image.digest
        sign_image(self.empty, image, run.config.run.environment, self.key)
        launcher = Launcher(self.empty, self.key, own_policy(self.key.public_key()), self.engine)
        output = self.folder / "replay"
        result = run_training(
            run.config_bytes,
            image,
            self._snapshot(run),
            launcher,
            code=run.code,
            start=run.start,
            output=output,
            on_event=self.on_event,
        )
        record = check_record(output, launcher.run_policy)
        ledger = (output / LEDGER_FILE).read_bytes()
        return Replayed(ledger, result.ledger_head, result.state_digest, record_metrics(record), record.proof)

    def _snapshot(self, run: VerifiedRun) -> StoredSnapshot:
        image = run.record.image.digest
        _, environment, _ = read_image_lock(self.store, image, read_inventory(self.store, image))
        artifacts = data_artifacts(run.config.data, self.store)
        bring_artifacts(artifacts, self.store, self.empty, environment.sources, on_event=self.on_event)
        return prepare_snapshot(run.config.data, self.empty)


@contextmanager
def workshop_folder(cache: Path) -> Iterator[Path]:
    """A folder below `cache`, removed in the end; those that killed audits left are removed first.

    It is beside the store's blobs, so that artifacts come into the empty store by link and not by copy.

    Raises:
        StorageError: it can't be made.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for left in cache.glob("audit-*"):
            _remove_unless_in_use(left)
        folder = Path(tempfile.mkdtemp(prefix="audit-", dir=cache))
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise storage_error(error, cache) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_unless_in_use(folder: Path) -> None:
    try:
        with (folder / ".lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return  # another audit is at work in it
    except FileNotFoundError:
        return  # not locked yet: another audit has just made it
