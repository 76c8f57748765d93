"""What a launcher hands to a run: the network and the secrets that were asked for, and no secret anywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_image import base_entries, make_image

from reprise import train
from reprise.engine.interface import RunFolders
from reprise.engine.secret_folder import Secret
from reprise.snapshots import StoredSnapshot
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise_trainer import redaction
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, StoppedError
from tests.trainer.conftest import CONFIG

SECRET = b"hunter22-secret"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that a run leaves is in it; what is hidden in a test is hidden for no other one."""
    monkeypatch.setattr(redaction, "_hidden", {})
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path


def start(folder: Path, config: str = CONFIG, **asked: Any) -> None:
    store, key = Store.open(folder / "store"), make_key()
    image = make_image(store, {"base": base_entries()}).digest
    sign_image(store, image, "small", key)
    launcher = train.Launcher(store, key, own_policy(key.public_key()), **asked)
    (folder / "data").mkdir()
    snapshot = StoredSnapshot(sha256_digest(b""), folder / "data")
    train.run_training(config.encode(), image, snapshot, launcher, output=folder / "output")


def holding(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path.relative_to(folder)) for path in files if SECRET in path.read_bytes()]


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("secrets", [(), (Secret("hub", SECRET),)], ids=["no secret", "secret"])
def test_a_run_has_what_was_asked_for(
    network: bool, secrets: tuple[Secret, ...], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def run(engine: str, image: object, folders: RunFolders, **more: object) -> None:
        names = [path.name for path in folders.secrets.iterdir()] if folders.secrets else []
        seen.extend([more["network"], names, [Path(each).name for each in holding(folder)]])
        raise StoppedError("here")

    monkeypatch.setattr(train, "run_trainer", run)
    with pytest.raises(StoppedError):
        start(folder, network=network, secrets=secrets)
    names = [each.name for each in secrets]
    assert seen == [network, names, names]
    assert holding(folder) == [] and list((folder / "tmp").iterdir()) == []


def test_a_configuration_that_holds_a_secret_of_the_run_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="holds the secret hub"):
        start(folder, f"{CONFIG}\n# {SECRET.decode()}\n", secrets=(Secret("hub", SECRET),))
    assert not (folder / "output").exists()
