"""A checkpoint in the store: one digest names weights and origin, and a run starts from it as from a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reprise.checkpoints import checkpoint_blobs, keep_checkpoint, stored_checkpoint
from reprise.run_config import load_config
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.overrides import parse_override
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint, write_checkpoint

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion-mnist.toml"
RECORD = b'{"a": "record"}'


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that has two checkpoints and a record."""
    folder = tmp_path / "base"
    for step in (3, 12):
        write_checkpoint(folder / "checkpoints", step, {"model/w": np.full(10, step), "step": np.array(step)})
    (folder / "record.sigstore.json").write_bytes(RECORD)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def test_a_configuration_names_a_stored_checkpoint_by_its_digest(run: Path, store: Store, tmp_path: Path) -> None:
    kept = keep_checkpoint(run, store)
    config = tmp_path / "run.toml"
    config.write_text(EXAMPLE.read_text() + f'\n[start]\ncheckpoint = "{kept.digest}"\n')
    loaded = load_config(config, store=store)
    assert loaded.start is not None and loaded.config.start is not None
    found = read_checkpoint(loaded.start)
    assert (found.step, found.digest) == (12, kept.state) == (kept.step, loaded.config.start.state)
    assert loaded.config.start.record == sha256_digest(RECORD)
    assert f'checkpoint = "{kept.digest}"' in loaded.data.decode()  # what the run's record will name

    by_folder = load_config(config, [parse_override("start.checkpoint=base")])
    assert by_folder.config.start == loaded.config.start.model_copy(update={"checkpoint": "base"})
    with pytest.raises(InputError, match=r"start\.state is sha256:0+1, the checkpoint in"):
        load_config(config, [parse_override(f"start.state=sha256:{1:064x}")], store)
    with pytest.raises(NotFoundError, match=r"has no checkpoint sha256:.*\n*.*reprise keep"):
        load_config(config, store=Store.open(tmp_path / "other"))


def test_the_same_checkpoint_is_the_same_artifact(run: Path, store: Store, tmp_path: Path) -> None:
    folder = run / "checkpoints" / "step-00000012"
    first = keep_checkpoint(folder, store)
    assert keep_checkpoint(run, Store.open(tmp_path / "other")) == first  # a run means its newest
    assert keep_checkpoint(run / "checkpoints" / "step-00000003", store).digest != first.digest
    (run / "record.sigstore.json").unlink()
    assert keep_checkpoint(folder, store).digest != first.digest  # origin is part of what the digest names


def test_what_is_damaged_or_something_else_is_refused(run: Path, store: Store) -> None:
    kept = keep_checkpoint(run, store)
    folder = stored_checkpoint(kept.digest, store).folder
    (folder / "state.json").unlink()
    assert stored_checkpoint(kept.digest, store).folder == folder and (folder / "state.json").exists()

    blob = store.path(checkpoint_blobs(kept.digest, store)["state.safetensors"])
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.unlink()
    blob.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        stored_checkpoint(kept.digest, store)

    other = store.put_manifest(b'{"artifactType":"application/x-other","layers":[]}')
    with pytest.raises(InputError, match=r"is no checkpoint: application/x-other"):
        stored_checkpoint(other, store)
    with pytest.raises(NotFoundError, match=r"neither a checkpoint nor a run"):
        keep_checkpoint(run.parent, store)


def test_the_command_prints_the_digest(run: Path, store: Store) -> None:
    command = [sys.executable, "-m", "reprise", "keep", str(run), "--store", str(store.root), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["artifact"] == keep_checkpoint(run, store).digest
