"""A run that never ran: real keys, signatures, ledger and record, around digests that are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.audit.evidence import Evidence
from reprise.trust.delegation import delegate
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.policy import Policy
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.ledger import Header
from reprise_trainer.training.ledger_writer import LedgerWriter
from reprise_trainer.training.records.record import RunKey, RunRecord, sign_record
from reprise_trainer.training.records.resources import machine

IMAGE, SNAPSHOT, STATE, OTHER = (f"sha256:{digit * 64}" for digit in "1234")
CONFIG = (Path(__file__).parents[2] / "examples" / "fashion-mnist.toml").read_text()
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class MadeRun:
    """The parts of a run, from which its evidence is signed; change one with `replace`."""

    launcher: ec.EllipticCurvePrivateKey
    key: ec.EllipticCurvePrivateKey
    ledger: bytes
    head: str
    lines: int

    def delegation(self, **changes: Any) -> bytes:
        said: dict[str, Any] = {
            "image": IMAGE,
            "config": sha256_digest(CONFIG.encode()),
            "snapshot": SNAPSHOT,
            "run": "r1",
            "now": NOW,
        }
        return delegate(self.launcher, self.key.public_key(), **{**said, **changes})

    def record(self, delegation: bytes, **changes: Any) -> RunRecord:
        said: dict[str, Any] = {
            "run": "r1",
            "image": {"digest": IMAGE, "files": 3, "bytes_hashed": 4, "milliseconds": 5},
            "lock": OTHER,
            "source": OTHER,
            "environment": OTHER,
            "engine": "namespaces",
            "config": sha256_digest(CONFIG.encode()),
            "config_text": CONFIG,
            "snapshot": SNAPSHOT,
            "snapshot_name": "fashion-mnist",
            "profile": {"name": "portable", "promise": "", "table": PROFILES["portable"].table(2)},
            "seed": 1,
            "backend": "torch",
            "backend_version": "2.13.0",
            "ledger": {"head": self.head, "lines": self.lines},
            "checkpoints": [{"step": 3, "state": STATE}],
            "state": STATE,
            "metrics": {},
            "resources": {"workers": 1, "wall_milliseconds": 1, "cpu_milliseconds": 1, "peak_memory_bytes": 1},
            "machine": machine(),
            "started": "2026-01-31T12:00:00Z",
            "finished": "2026-01-31T12:30:00Z",
            "delegation": sha256_digest(delegation),
        }
        return RunRecord.model_validate({**said, **changes}, strict=False)

    def evidence(self, **changes: Any) -> Evidence:
        """The run's documents; `changes` are fields of the record, which is signed with them."""
        delegation = self.delegation()
        record = self.record(delegation, **changes)
        bundle = sign_record(record, RunKey(self.key, sha256_digest(delegation)), subject="torch-cpu")
        return Evidence(bundle, delegation, self.ledger, "run")

    def policy(self) -> Policy:
        return own_policy(self.launcher.public_key())


@pytest.fixture(scope="session")
def ledger_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[bytes, str, int]]:
    """Writes ledgers: (bytes, head, lines) for the losses of a run's steps, with a checkpoint at its end."""

    def write(
        losses: tuple[float, ...] = (0.5, 0.25, 0.125), state: str = STATE, **header: Any
    ) -> tuple[bytes, str, int]:
        said = {"config": sha256_digest(CONFIG.encode()), "snapshot": SNAPSHOT, "image": IMAGE, "seed": 1}
        path = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
        writer = LedgerWriter(path, Header(**{**said, **header}))
        for step, loss in enumerate(losses):
            writer.add_step(step, loss=loss, batch="b" * 64, gradient="c" * 64)
        writer.add_checkpoint(len(losses), state)
        writer.close()
        return path.read_bytes(), writer.head, writer.lines

    return write


@pytest.fixture
def run(ledger_of: Callable[..., tuple[bytes, str, int]]) -> MadeRun:
    return MadeRun(make_key(), make_key(), *ledger_of())


@pytest.fixture
def stranger(run: MadeRun) -> MadeRun:
    """The same run, claimed by somebody with other keys."""
    return replace(run, launcher=make_key(), key=make_key())
