"""docs/key-ceremony.md, done as it is written: its commands are real, and its promises about stolen keys hold."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from private_sigstore import PrivateSigstore, private_sigstore
from small_image import Entry, make_image

from reprise.store import Store

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docs/key-ceremony.md").read_text()
SECRET = ("--new-passphrase-command", "echo words", "--passphrase-command", "echo words")


@pytest.fixture(scope="module")
def sigstore() -> Iterator[PrivateSigstore]:
    with private_sigstore(timestamps=True) as instance:
        yield instance


def shown(start: str) -> list[str]:
    """The words of the one command of the page that begins so."""
    (line,) = {line.strip() for line in TEXT.splitlines() if line.strip().startswith(start)}
    return line.split()


def test_the_page_s_trusted_root_is_what_a_policy_pins(
    reprise: Any, sigstore: PrivateSigstore, project: Path, tmp_path: Path
) -> None:
    (project / "sigstore.json").write_text(json.dumps(sigstore.trust_config()))
    command = shown("reprise policy trusted-root --trust-config")
    done = json.loads(reprise(*command[1:], "--json").out)
    summed = subprocess.run(["sha256sum", project / "trusted_root.json"], capture_output=True, text=True, check=True)
    assert done["trusted_root"] == f"sha256:{summed.stdout.split()[0]}"
    assert reprise(*command[1:]).code == 0  # the same bytes again
    (project / "trusted_root.json").write_text("{}")
    assert reprise(*command[1:]).code == 65 and (project / "trusted_root.json").read_text() == "{}"


@pytest.mark.long
def test_a_key_is_made_pinned_used_and_survives_its_own_end(
    reprise: Any, sigstore: PrivateSigstore, project: Path, tmp_path: Path
) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}}, tag="torch-cpu")
    (project / "sigstore.json").write_text(json.dumps(sigstore.trust_config()))
    assert reprise(*shown("reprise key --key release.pem --encrypt")[1:], *SECRET).code == 0
    fingerprint = json.loads(reprise(*shown("reprise key --key release.pem --json")[1:], *SECRET[2:]).out)[
        "fingerprint"
    ]
    export = " ".join(shown("reprise key --key release.pem > "))
    key, _, file = export.partition(" > ")
    (project / file).write_text(reprise(*key.split()[1:], *SECRET[2:]).out)
    command = " ".join(shown("openssl pkey"))
    computed = subprocess.run(command, shell=True, cwd=project, capture_output=True, text=True, check=True)
    assert computed.stdout.strip() == fingerprint
    root = reprise(*shown("reprise policy trusted-root --trust-config")[1:], "--json")
    policy = (
        f"[[keys]]\nname = 'release'\npublic_key = '''{(project / file).read_text()}'''\n"
        f"[require]\ntime = true\ntrusted_root = '{json.loads(root.out)['trusted_root']}'\n"
    )
    (project / "policy.toml").write_text(policy)
    assert reprise(*shown("reprise sign torch-cpu --key release.pem")[1:], *SECRET[2:]).code == 0
    verify = shown("reprise verify torch-cpu --policy")[1:]
    assert reprise(*verify).code == 1
    assert reprise(*shown("reprise witness torch-cpu --policy")[1:], "--trust-config", "sigstore.json").code == 0
    assert reprise(*verify).code == 0
    ended = policy.replace("name = 'release'", "name = 'release'\nnot_after = 2030-01-01T00:00:00Z")
    (project / "policy.toml").write_text(ended)
    assert reprise(*verify, "--at", "2040-01-01T00:00:00Z").code == 0  # proven to be older than the key's end
    (project / "policy.toml").write_text(ended.replace("2030", "2020"))
    assert reprise(*verify).code == 1
    (project / "policy.toml").write_text(f"{policy}[revoked]\nkeys = ['{fingerprint}']\n")
    assert reprise(*verify).code == 1


def test_every_command_of_the_page_exists() -> None:
    import typer

    from reprise.cli.verbs import make_app

    verbs = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]
    for line in re.findall(r"`?(reprise [a-z].*)", TEXT):
        words = line.partition("`")[0].split()
        command = verbs[words[1]]
        if subcommands := getattr(command, "commands", None):
            command = subcommands[words[2]]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
