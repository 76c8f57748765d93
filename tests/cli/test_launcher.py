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


@pytest.mark.parametrize("arguments", [["train", CONFIG], ["run", "IMAGE", CONFIG]], ids=lambda each: each[0])
@pytest.mark.parametrize("asked", [[], ["--network"]], ids=["without", "with"])
def test_a_run_reaches_the_network_only_where_it_is_told_to(
    arguments: list[str], asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of the run stands something that notes what it would be given."""
    given: list[object] = []

    class EndError(Exception):
        pass

    def run(*arguments: object, **_: object) -> Never:
        given.extend(arguments)
        raise EndError

    monkeypatch.setenv("REPRISE_HOME", str(tmp_path / "home"))
    for name, stand_in in (("train.train", run), ("host.run_in_image", run), ("host.obtain_image", lambda *_, **__: 0)):
        monkeypatch.setattr(f"reprise.{name}", stand_in)
    Store.open(tmp_path / "store")
    load_or_make_policy(make_key().public_key(), tmp_path / "home" / "policy.toml")
    verb, *places = arguments
    app = typer.Typer()
    app.command()(import_module(f"reprise.cli.{verb}").command)
    with pytest.raises(EndError):
        typer.main.get_command(app).main([*places, *asked, "--store", str(tmp_path / "store")], standalone_mode=False)
    assert [each.network for each in given if isinstance(each, Launcher)] == [bool(asked)]


def test_nothing_else_asks_for_a_network() -> None:
    """Not an audit, whose replay must follow from what is here, nor a demonstration, which ends in one."""
    verbs = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]
    asking = {name for name, verb in verbs.items() if any("--network" in each.opts for each in verb.params)}
    assert asking == {"train", "run"}
