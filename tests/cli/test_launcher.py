"""What `train` and `demo` take as the launcher's key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.cli.launcher import open_launcher
from reprise.store import Store
from reprise.trust.keys import encrypt_key
from reprise_trainer.errors import InputError


def test_an_encrypted_key_starts_runs_with_its_passphrase_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_HOME", str(tmp_path / "home"))
    path, store = tmp_path / "key.pem", Store.open(tmp_path / "store")
    key = encrypt_key(path, lambda what: b"secret")
    launcher = open_launcher(store, str(path), None, "namespaces", passphrase_command="echo secret")
    assert isinstance(launcher.key, ec.EllipticCurvePrivateKey)
    assert launcher.key.private_numbers() == key.private_numbers()
    with pytest.raises(InputError, match="does not open"):
        open_launcher(store, str(path), None, "namespaces", passphrase_command="echo public")
