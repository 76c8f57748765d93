"""A checkpoint goes through a registry like everything else, and a run on the other side starts from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reprise.checkpoints import keep_checkpoint, stored_checkpoint
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint, write_checkpoint


def test_a_pulled_checkpoint_is_the_same_state_of_the_same_run(host: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run/checkpoints", 12, {"model/w": np.full(10, 3.0), "step": np.array(12)})
    (tmp_path / "run/record.sigstore.json").write_bytes(b"a record")
    ours, theirs = Store.open(tmp_path / "ours"), Store.open(tmp_path / "theirs")
    kept = keep_checkpoint(tmp_path / "run", ours)
    where = parse_reference(f"{host}/team/base:1")
    push(ours, kept.digest, where)
    pull(where, theirs)

    found = stored_checkpoint(kept.digest, theirs)
    assert read_checkpoint(found.folder).digest == kept.state
    assert found.record == sha256_digest(b"a record")
