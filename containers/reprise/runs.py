"""The registry of runs: what a store holds of each, and what each follows from, back to the raw data.

A run is an artifact of its image; its record names everything else by digest. Whether a record is signed by somebody
that a policy trusts is the audit's question; here a record is shown for what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.kept_runs import RUN_TYPE
from reprise.start import is_stored
from reprise.store import Store
from reprise.stored_image import has_lock
from reprise_trainer.config.read import read_config
from reprise_trainer.data.snapshot import decode_snapshot
from reprise_trainer.errors import InputError, NotFoundError, RepriseError
from reprise_trainer.identity.bundle import open_bundle
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE
from reprise_trainer.training.records.record import RunRecord, read_record

HEADER = ("RUN", "FINISHED", "DATA", "PROFILE", "BACKEND", "ACCURACY", "STATE")


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run in a store: the digest of its artifact, and what its record says."""

    digest: str
    record: RunRecord

    def row(self) -> tuple[str, ...]:
        """The run as a line of a table with `HEADER`."""
        record = self.record
        accuracy = str(record.metrics.get("accuracy", ""))
        return (
            *(record.run, record.finished, record.snapshot_name, record.profile.name, record.backend),
            *(accuracy, record.state[:19]),
        )

    def as_json(self) -> dict[str, Any]:
        """The run for `--json`."""
        return {"digest": self.digest, "record": self.record.model_dump(mode="json")}


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that a run follows from or gave: what it is, its name, whether the store holds it (None: it is no
    blob), and what it follows from itself, as other things' `what`."""

    what: str
    name: str
    held: bool | None = None
    follows_from: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The thing for `--json`."""
        return {"what": self.what, "name": self.name, "held": self.held, "follows_from": list(self.follows_from)}


def stored_runs(store: Store) -> tuple[StoredRun, ...]:
    """Every run that the store holds, the newest first. A damaged one is left out: it says nothing."""
    found = []
    for digest in store.listed():
        try:
            manifest = store.manifest(digest)
            if manifest.get("artifactType") == RUN_TYPE:
                found.append(_stored_run(store, digest))
        except RepriseError:
            continue
    return tuple(sorted(found, key=lambda run: (run.record.finished, run.record.run), reverse=True))


def find_run(store: Store, name: str) -> StoredRun:
    """The run of that id or digest, or of that beginning of one.

    Raises:
        NotFoundError: there is none.
        InputError: there are several.
    """
    runs = stored_runs(store)
    found = [run for run in runs if name in (run.digest, run.record.run)]
    found = found or [run for run in runs if run.record.run.startswith(name) or run.digest.startswith(name)]
    if not found:
        raise NotFoundError(f"the store {store.root} has no run {name!r}", hint="`reprise runs` lists them.")
    if len(found) > 1:
        # a run whose record was signed again is there twice, and its id names both
        several = ", ".join(f"{run.record.run} ({run.digest[:19]})" for run in found[:5])
        raise InputError(f"{name!r} begins {len(found)} runs: {several}", hint="Name one by its digest, as shown.")
    return found[0]


def run_reference(name: str, store: Store) -> str | Path:
    """What an audit takes for a run: the folder or file of that name, or the digest of the run in the store that has
    this id or digest, or this beginning of one.

    Raises:
        NotFoundError: there is neither.
        InputError: the store has several.
    """
    if Path(name).exists():
        return Path(name)
    try:
        return find_run(store, name).digest
    except NotFoundError as error:
        raise NotFoundError(f"there is no folder or file {name}, and {error.message}", hint=error.hint) from error


def lineage(run: StoredRun, store: Store) -> tuple[Thing, ...]:
    """What a run follows from and what came out of it, each after what it follows from."""
    record = run.record
    sources = tuple(_sources(record.snapshot, store))
    data = tuple(each.what for each in sources)
    parent = ("parent state",) if record.parent else ()
    things = [
        *sources,
        Thing("snapshot", record.snapshot, store.has(record.snapshot), data),
        Thing("lock", record.lock, has_lock(store, record.image.digest, record.lock)),
        Thing("trainer source", record.source, _holds(store, record.source)),
        Thing("image", record.image.digest, store.has(record.image.digest), ("lock", "trainer source")),
        Thing("configuration", record.config, _holds(store, record.config)),
    ]
    if record.parent:
        made = [_parent_checkpoint(record, store)]
        things += [each for each in made if each]
        things.append(Thing("parent state", record.parent.state, None, tuple(each.what for each in made if each)))
    needed = ("snapshot", "image", "configuration", *parent)
    things += [
        Thing("ledger", record.ledger.head, None, needed),
        *(Thing(f"state after step {each.step}", each.state, None, ("ledger",)) for each in record.checkpoints),
    ]
    last = things[-1].what
    metrics = ", ".join(f"{name} {value}" for name, value in record.metrics.items())
    things += [Thing("metrics", metrics, None, (last,)), Thing("run record", run.digest, True, ("ledger", "metrics"))]
    return tuple(things)


def _sources(snapshot: str, store: Store) -> Iterator[Thing]:
    if not store.has(snapshot):
        return
    for number, source in enumerate(decode_snapshot(store.read(snapshot)).sources, 1):
        yield Thing(f"raw data {number}", source.artifact, store.has(f"sha256:{source.sha256}"))


def _parent_checkpoint(record: RunRecord, store: Store) -> Thing | None:
    """The checkpoint's artifact, where the configuration names one."""
    start = read_config(record.config_text.encode(), where="the run record's configuration").start
    if start is None or not is_stored(start):
        return None
    return Thing("parent checkpoint", start.checkpoint, store.has(start.checkpoint))


def _holds(store: Store, digest: str) -> bool | None:
    return store.has(digest) if digest else None


def _stored_run(store: Store, digest: str) -> StoredRun:
    statement = json.loads(open_bundle(store.files(digest)[RECORD_FILE]).payload)
    return StoredRun(digest, read_record(statement["predicate"]))
