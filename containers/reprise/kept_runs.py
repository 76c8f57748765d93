"""Runs in the store: the small files of each, as an artifact whose subject is the run's image."""

from __future__ import annotations

import json
from pathlib import Path

from reprise.store import Store
from reprise_trainer.errors import RepriseError
from reprise_trainer.identity.bundle import open_bundle
from reprise_trainer.identity.launch import CODE_FILE, CONFIG_FILE, DELEGATION_FILE
from reprise_trainer.training.ledger import FILE_NAME as LEDGER_FILE
from reprise_trainer.training.records.record import FILE_NAME as RECORD_FILE

RUN_TYPE = "application/vnd.reprise.run.v1"

RUN_FILES = {
    RECORD_FILE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    DELEGATION_FILE: "application/vnd.dev.sigstore.bundle.v0.3+json",
    CONFIG_FILE: "application/toml",
    LEDGER_FILE: "application/x-ndjson",
    "report.json": "application/json",
    CODE_FILE: "application/x-tar",
}
"""What the store keeps of a run, as an artifact whose subject is the image."""


def find_kept_run(record: bytes, store: Store) -> str | None:
    """The digest of the run in the store that has this record, whatever was witnessed since. What the record says is
    believed for the search alone."""
    try:
        envelope = open_bundle(record)
        subject = json.loads(envelope.payload)["subject"][0]["digest"]["sha256"]
        for referrer in store.referrers(f"sha256:{subject}", RUN_TYPE):
            if open_bundle(store.files(referrer["digest"])[RECORD_FILE]) == envelope:
                return str(referrer["digest"])
    except (RepriseError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        pass
    return None


def keep_run(store: Store, image: str, folder: Path) -> str:
    """Put a run's small files into the store, as an artifact of its image, unless the run is there; its digest.

    Args:
        image: the run's image, which the store holds.
        folder: the run's, with all of `RUN_FILES` but the code, which not every run has.
    """
    if known := find_kept_run((folder / RECORD_FILE).read_bytes(), store):
        return known
    files = [
        (name, media_type, (folder / name).read_bytes())
        for name, media_type in RUN_FILES.items()
        if name != CODE_FILE or (folder / name).exists()
    ]
    return store.attach(image, RUN_TYPE, files)
