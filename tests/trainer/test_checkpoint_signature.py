"""A checkpoint's signature: OpenSSF's own verifier takes it, and a change of a file or of the key is found by both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.trainer.conftest import environment

from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError
from reprise_trainer.identity.bundle import open_bundle, public_pem
from reprise_trainer.training.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from reprise_trainer.training.checkpoints.names import checkpoint_name
from reprise_trainer.training.checkpoints.signature import (
    PUBLIC_KEY,
    SIGNATURE,
    checkpoint_signer,
    verify_checkpoint_signature,
)

NAME = checkpoint_name(7)


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def run(tmp_path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """A run's folder with one signed checkpoint and the public key."""
    state = {"model/w": np.arange(500_000, dtype=np.float32), "step": np.array(7)}
    write_checkpoint(tmp_path / "checkpoints", 7, state, before_name=checkpoint_signer(key, tmp_path))
    return tmp_path


def model_signing(run: Path, *, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    folder = run / "checkpoints" / NAME
    argv = [sys.executable, "-m", "model_signing", "verify", "key", folder, "--signature", folder / SIGNATURE]
    argv += ["--public_key", key or run / PUBLIC_KEY]
    return subprocess.run(list(map(str, argv)), check=False, capture_output=True, text=True, timeout=120)


def test_openssf_model_signing_verifies_it(run: Path, tmp_path: Path) -> None:
    held = model_signing(run)
    assert (held.returncode, held.stdout.strip()) == (0, "Verification succeeded"), held.stderr
    names = sorted(path.name for path in (run / "checkpoints" / NAME).iterdir())
    assert names == [SIGNATURE, "state.json", "state.safetensors"]
    (tmp_path / "other.pub").write_text(public_pem(ec.generate_private_key(ec.SECP256R1()).public_key()))
    assert model_signing(run, key=tmp_path / "other.pub").returncode != 0
    path = run / "checkpoints" / NAME / "state.json"
    path.write_bytes(path.read_bytes() + b" ")
    changed = model_signing(run)
    assert changed.returncode != 0 and "state.json" in changed.stdout + changed.stderr


def test_the_statement_names_the_checkpoint_and_its_two_files(run: Path) -> None:
    statement = json.loads(open_bundle((run / "checkpoints" / NAME / SIGNATURE).read_bytes()).payload)
    assert [each["name"] for each in statement["subject"]] == [NAME]
    assert [each["name"] for each in statement["predicate"]["resources"]] == ["state.json", "state.safetensors"]


def test_a_signed_checkpoint_reads_as_one_without(run: Path) -> None:
    assert read_checkpoint(run / "checkpoints" / NAME).step == 7


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("change", "message", "kind"),
    [
        (lambda folder: cut(folder / "state.json"), r"state\.json: not the file that was signed", DoesNotHoldError),
        (lambda folder: cut(folder / "state.safetensors"), r"state\.safetensors: not the file", DoesNotHoldError),
        (lambda folder: cut(folder / SIGNATURE), "not", InputError),
        (lambda folder: (folder / SIGNATURE).unlink(), "not a signed checkpoint", InputError),
        (lambda folder: (folder / "state.json").unlink(), "not a signed checkpoint", InputError),
    ],
)
def test_a_change_is_named(
    run: Path, key: ec.EllipticCurvePrivateKey, change: Callable[[Path], None], message: str, kind: type[RepriseError]
) -> None:
    folder = run / "checkpoints" / NAME
    verify_checkpoint_signature(folder, key.public_key())
    change(folder)
    with pytest.raises(kind, match=message):
        verify_checkpoint_signature(folder, key.public_key())


def test_another_key_is_refused(run: Path) -> None:
    with pytest.raises(DoesNotHoldError, match="not by a known key"):
        verify_checkpoint_signature(run / "checkpoints" / NAME, ec.generate_private_key(ec.SECP256R1()).public_key())


def test_the_command_checks_digest_and_signature(run: Path, tmp_path: Path) -> None:
    def verify(key: Path) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "reprise_trainer", "checkpoint", "verify", str(run), "--key", str(key)]
        return subprocess.run(argv, check=False, capture_output=True, text=True, env=environment())

    assert verify(run / PUBLIC_KEY).returncode == 0
    (tmp_path / "other.pub").write_text(public_pem(ec.generate_private_key(ec.SECP256R1()).public_key()))
    (tmp_path / "none.pub").write_text("no key")
    none = verify(tmp_path / "none.pub")
    assert none.returncode == 65 and f"error: {tmp_path / 'none.pub'}: not a PEM public key" in none.stderr
    wrong = verify(tmp_path / "other.pub")
    assert wrong.returncode == 1 and "damaged: the signature is not by a known key" in wrong.stdout
    assert verify(tmp_path / "absent").returncode == 66
