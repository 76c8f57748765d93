"""Signed image + configuration → a training run inside the image, and its signed record in the store."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec

from reprise.artifacts.fetch import fetch
from reprise.engine.launch import Launch, write_launch_folder
from reprise.engine.run import run_image
from reprise.events import Event, OnEvent, ignore
from reprise.lock.model import Artifact, Sources
from reprise.lock.read import read_environment
from reprise.project import Project
from reprise.snapshots import StoredSnapshot, prepare_snapshot
from reprise.store import Store
from reprise.trust.delegation import delegate, verify_record
from reprise.trust.keys import make_key, private_pem
from reprise.trust.sign import stored_bundles
from reprise.trust.verify import verify_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, NotFoundError, RepriseError
from reprise_trainer.identity.policy import Policy, write_policy
from reprise_trainer.training.config import RunConfig, read_config

RUN_TYPE = "application/vnd.reprise.run.v1"

RECORD_FILE = "record.sigstore.json"
DELEGATION_FILE = "delegation.sigstore.json"
LEDGER_FILE = "ledger.jsonl"
CONFIG_FILE = "run.toml"

_JSON, _TOML, _LINES = "application/json", "application/toml", "application/x-ndjson"
_RUN_FILES = ((RECORD_FILE, _JSON), (LEDGER_FILE, _LINES), ("report.json", _JSON))


@dataclass(frozen=True, slots=True)
class Launcher:
    """Who starts runs: the store that holds the images, the key that delegates to run keys, the policy that an image
    has to meet, and the engine."""

    store: Store
    key: ec.EllipticCurvePrivateKey
    policy: Policy
    engine: Literal["namespaces", "docker"] = "namespaces"


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run. All digests are `sha256:<hex>`; `record` is the digest of the run's manifest in the store."""

    run: str
    image_digest: str
    measured_digest: str
    snapshot_digest: str
    ledger_head: str
    state_digest: str
    metrics: dict[str, Any]
    record: str
    output: Path
    seconds: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """The result for `--json`."""
        return {
            "run": self.run,
            "image_digest": self.image_digest,
            "measured_digest": self.measured_digest,
            "snapshot_digest": self.snapshot_digest,
            "ledger_head": self.ledger_head,
            "state_digest": self.state_digest,
            "metrics": self.metrics,
            "record": self.record,
            "output": str(self.output),
            "seconds": self.seconds,
        }
