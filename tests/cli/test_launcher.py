"""What `train` and `demo` take as the launcher's key."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Never

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.cli.launcher import open_launcher
from reprise.cli.verbs import make_app
from reprise.store import Store
from reprise.train import Launcher
from reprise.trust.keys import encrypt_key, make_key
from reprise.trust.policy_file import load_or_make_policy
from reprise_trainer import redaction
from reprise_trainer.errors import InputError

CONFIG = "examples/fashion-mnist.toml"


def test_an_encrypted_key_starts_runs_with_its_passphrase_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_HOME", str(tmp_path / "home"))
    path, store = tmp_path / "key.pem", Store.open(tmp_path / "store")
    key = encrypt_key(path, lambda what: b"secret")
    launcher = open_launcher(store, str(path), None, "namespaces", passphrase_command="echo secret")
    assert not launcher.network
    assert isinstance(launcher.key, ec.EllipticCurvePrivateKey)
    assert launcher.key.private_numbers() == key.private_numbers()
    with pytest.raises(InputError, match="does not open"):
        open_launcher(store, str(path), None, "namespaces", passphrase_command="echo public")


def launcher_of(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Launcher:
    """Who would start the run of that command line; in place of the run stands something that notes it."""
    given: list[object] = []

    class EndError(Exception):
        pass

    def run(*arguments: object, **_: object) -> Never:
        given.extend(arguments)
        raise EndError

    monkeypatch.setattr(redaction, "_hidden", {})
    monkeypatch.setenv("REPRISE_HOME", str(folder / "home"))
    for name, stand_in in (("train.train", run), ("host.run_in_image", run), ("host.obtain_image", lambda *_, **__: 0)):
        monkeypatch.setattr(f"reprise.{name}", stand_in)
    Store.open(folder / "store")
    load_or_make_policy(make_key().public_key(), folder / "home" / "policy.toml")
    verb, *words = arguments
    app = typer.Typer()
    app.command()(import_module(f"reprise.cli.{verb}").command)
    with pytest.raises(EndError):
        typer.main.get_command(app).main([*words, "--store", str(folder / "store")], standalone_mode=False)
    (launcher,) = (each for each in given if isinstance(each, Launcher))
    return launcher


@pytest.mark.parametrize("arguments", [["train", CONFIG], ["run", "IMAGE", CONFIG]], ids=lambda each: each[0])
@pytest.mark.parametrize("asked", [[], ["--network"]], ids=["without", "with"])
def test_a_run_reaches_the_network_only_where_it_is_told_to(
    arguments: list[str], asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launcher_of([*arguments, *asked], tmp_path, monkeypatch).network is bool(asked)


@pytest.mark.parametrize("arguments", [["train", CONFIG], ["run", "IMAGE", CONFIG]], ids=lambda each: each[0])
def test_a_run_is_given_the_secrets_that_are_named(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("hunter22-secret")
    asked = [word for name in ("hub", "other") for word in ("--secret", f"{name}={tmp_path}/token")]
    launcher = launcher_of([*arguments, *asked], tmp_path, monkeypatch)
    assert [(each.name, each.content) for each in launcher.secrets] == [
        ("hub", b"hunter22-secret"),
        ("other", b"hunter22-secret"),
    ]
    assert "hunter22" not in repr(launcher)


def test_nothing_else_asks_for_a_network_or_a_secret() -> None:
    """Not an audit, whose replay must follow from what is here, nor a demonstration, which ends in one."""
    verbs = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]
    for option in ("--network", "--secret"):
        asking = {name for name, verb in verbs.items() if any(option in each.opts for each in verb.params)}
        assert asking == {"train", "run"}
