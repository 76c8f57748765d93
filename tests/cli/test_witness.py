"""`reprise witness` as a user meets it: down first, then up, and a policy that asks for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from keyless_signing import root_of
from private_sigstore import PrivateSigstore, private_sigstore
from small_image import Entry, make_image

from reprise.cli.launcher import witness_note
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise_trainer.canonical import sha256_digest


@pytest.fixture(scope="module")
def sigstore() -> Iterator[PrivateSigstore]:
    with private_sigstore(timestamps=True) as instance:
        yield instance


@pytest.fixture
def config(sigstore: PrivateSigstore, tmp_path: Path) -> Path:
    path = tmp_path / "trust-config.json"
    path.write_text(json.dumps(sigstore.trust_config()))
    return path


def test_a_dry_run_asks_not_even_the_public_sigstore_who_it_is(reprise: Any, tmp_path: Path) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}})
    assert reprise("sign", "small").code == 0
    nobody = {"HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:1"}
    dry = reprise("witness", "small", "--dry-run", "--json", **nobody)
    assert dry.code == 0 and {each["log"] for each in json.loads(dry.out)["statements"]} == {"lacking"}
    assert "TUF" not in dry.err  # no library's warning of what was asked for
    assert reprise("witness", "nothere", "--dry-run", **nobody).code == 66
    assert reprise("witness", "small", **nobody).code == 69


def test_a_signature_is_witnessed_once_the_services_are_back(
    reprise: Any, sigstore: PrivateSigstore, config: Path, tmp_path: Path
) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}})
    assert reprise("sign", "small").code == 0
    home = tmp_path / "home"
    (home / "trusted_root.json").write_bytes(root_of(sigstore))
    text = (home / "policy.toml").read_text()
    asked = f'log = true\ntime = true\ntrusted_root = "{sha256_digest(root_of(sigstore))}"\n'
    (home / "policy.toml").write_text(text.replace("[require]\n", f"[require]\n{asked}"))
    refused = reprise("verify", "small")
    assert refused.code == 1 and "`reprise witness` adds one" in refused.out
    there = ("witness", "small", "--trust-config", config)
    before = list(sigstore.requests)
    dry = json.loads(reprise(*there, "--dry-run", "--json").out)
    assert [(each["log"], each["time"]) for each in dry["statements"]] == [("lacking", "lacking")]
    assert sigstore.requests == before
    sigstore.down.add("/api/v1/log/entries")
    failed = reprise(*there)
    assert failed.code == 69 and "log failed, time added" in failed.out
    sigstore.down.clear()
    done = json.loads(reprise(*there, "--json").out)
    assert done["complete"] and [(each["log"], each["time"]) for each in done["statements"]] == [("added", "there")]
    assert reprise("verify", "small").code == 0
    before = list(sigstore.requests)
    assert reprise(*there).code == 0 and sigstore.requests == before


def test_what_is_wrong_is_one_message(reprise: Any, config: Path, tmp_path: Path) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}})
    assert reprise("witness", "small", "--trust-config", config).code == 66  # no policy yet
    assert reprise("sign", "small").code == 0
    assert reprise("witness", "small", "--trust-config", tmp_path / "home" / "policy.toml").code == 65
    whole, broken = json.loads(config.read_text()), tmp_path / "broken.json"
    old = whole["trustedRoot"] | {"mediaType": "application/vnd.dev.sigstore.trustedroot.v0.2+json"}
    no_log = whole["signingConfig"] | {"rekorTlogUrls": []}
    for change, pins in (({"trustedRoot": old}, False), ({"signingConfig": no_log}, True)):
        broken.write_text(json.dumps(whole | change))
        done = reprise("witness", "small", "--trust-config", broken)
        assert done.code == 65 and "is not a Sigstore client trust config" in done.err
        taken = reprise("policy", "trusted-root", "--trust-config", broken, "--output", tmp_path / "root.json")
        assert taken.code == (0 if pins else 65)
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"y")}}, tag="other")
    done = reprise("witness", "other", "--trust-config", config)
    assert done.code == 1 and "reprise sign IMAGE" in done.err


def test_a_run_under_a_policy_that_asks_for_proofs_says_what_is_left_to_do() -> None:
    policy = own_policy(make_key().public_key())
    assert witness_note(policy, Path("runs/a")) == ""
    note = witness_note(replace(policy, log=True), Path("runs/a"))
    assert note.endswith("asks for a log entry, which the record gets by: reprise witness runs/a")
    assert "a log entry and a proven time" in witness_note(replace(policy, log=True, time=True), Path("runs/a"))
