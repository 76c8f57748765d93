"""Signing keyless against a private Sigstore: tokens, services that fail, what lies in the store, the command."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from keyless_signing import BUILDER, DIGEST, Rule, root_of, signer, verify_keyless
from private_sigstore import PrivateSigstore, private_sigstore
from sigstore.models import ClientTrustConfig

from reprise.store import Store
from reprise.trust.keyless_signer import KeylessSigner, ambient_token, read_trust_config, token_from_file
from reprise.trust.sign import sign_image, stored_bundles
from reprise_trainer.errors import (
    InputError,
    UnavailableError,
)
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement
from reprise_trainer.identity.proofs import has_certificate


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between two questions take no time."""
    monkeypatch.setattr("reprise.trust.witness_services.sleep", lambda seconds: None)


def test_it_is_stored_as_our_own_bundles_are(sigstore: PrivateSigstore, store: Store, image: str) -> None:
    made = signer(sigstore)
    referrer = sign_image(store, image, "one", made)
    (found,) = [bundle for name, bundle in stored_bundles(store, image) if name == referrer]
    assert has_certificate(found) and made.identity == f"{BUILDER} ({sigstore.provider.url})"
    verify_keyless(found, root_of(sigstore), [Rule(sigstore.provider.url, BUILDER)], image)
    assert store.manifest(referrer)["annotations"]["dev.sigstore.bundle.predicateType"] == IMAGE_SIGNATURE


def test_one_certificate_serves_all_signatures_of_a_signer(sigstore: PrivateSigstore) -> None:
    made, before = signer(sigstore), sigstore.requests.count("POST /api/v2/signingCert")
    for _ in range(3):
        made.sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))
    assert sigstore.requests.count("POST /api/v2/signingCert") == before + 1


def test_a_certificate_that_is_over_signs_nothing() -> None:
    with private_sigstore(certificate_lifetime=timedelta(seconds=1)) as instance:
        made = signer(instance)
        made.sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))
        time.sleep(1.5)
        with pytest.raises(UnavailableError, match="signing with Sigstore failed"):
            made.sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))


@pytest.mark.parametrize("service", ["/api/v2/signingCert", "/api/v1/log/entries"])
def test_a_service_that_is_down_is_one_message(service: str, store: Store, image: str) -> None:
    with private_sigstore() as instance:
        instance.down.add(service)
        with pytest.raises(UnavailableError, match="signing with Sigstore failed"):
            sign_image(store, image, "one", signer(instance))
    assert stored_bundles(store, image) == []


def test_tokens_that_are_none_or_of_strangers_sign_nothing(sigstore: PrivateSigstore, tmp_path: Path) -> None:
    config = read_trust_config(write(tmp_path / "config.json", json.dumps(sigstore.trust_config())))
    statement = make_statement("image", DIGEST, IMAGE_SIGNATURE, {})
    expired = sigstore.provider.token(BUILDER, seconds=-60)
    for text in ("", "not a token", expired, "\xe4"):
        with pytest.raises(InputError, match="identity token"):
            KeylessSigner(config, token_from_file(write(tmp_path / "token", text))).sign(statement)
    with private_sigstore() as stranger:
        stranger.provider.url = sigstore.provider.url  # it claims to be the other
        forged = write(tmp_path / "token", stranger.provider.token(BUILDER))
        with pytest.raises(UnavailableError):
            KeylessSigner(config, token_from_file(forged)).sign(statement)


def test_a_ci_service_gives_its_job_a_token(sigstore: PrivateSigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{sigstore.url}/ci/token?job=1")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a job's own")
    sigstore.ci_subject = BUILDER
    config = ClientTrustConfig.from_json(json.dumps(sigstore.trust_config()))
    assert sigstore.provider.verify(ambient_token(config, at_a_desk=False))["sub"] == BUILDER
    for name in ("GITHUB_ACTIONS", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="--identity-token"):
        ambient_token(config, at_a_desk=False)


def test_the_command_signs_as_whom_the_token_names(
    sigstore: PrivateSigstore, store: Store, image: str, tmp_path: Path
) -> None:
    token = write(tmp_path / "token", sigstore.provider.token(BUILDER) + "\n")
    config = write(tmp_path / "config.json", json.dumps(sigstore.trust_config()))
    options = ("--keyless", "--identity-token", str(token), "--trust-config", str(config))
    done = sign(store, image, *options)
    printed = json.loads(done.stdout)
    assert done.returncode == 0 and printed["identity"] == f"{BUILDER} ({sigstore.provider.url})"
    assert "unsafe" not in done.stderr
    (found,) = [bundle for name, bundle in stored_bundles(store, image) if name == printed["signature"]]
    verify_keyless(found, root_of(sigstore), [Rule(sigstore.provider.url, BUILDER)], image)
    assert not (store.root / "home").exists()  # neither a key nor a policy was made
    assert sign(store, image, "--identity-token", str(token)).returncode == 2
    assert sign(store, image, *options, "--key", "x").returncode == 2
    assert sign(store, image, "--keyless", "--trust-config", str(token)).returncode == 65


def test_at_a_desk_a_login_in_the_browser_gives_the_token(
    sigstore: PrivateSigstore, store: Store, image: str, tmp_path: Path
) -> None:
    sigstore.provider.user = "https://people.example.org/somebody"
    config = write(tmp_path / "config.json", json.dumps(sigstore.trust_config()))
    command = [sys.executable, "-m", "reprise", "sign", image, "--store", str(store.root), "--keyless"]
    child, terminal = pty.fork()
    if child == 0:
        visit = f"{sys.executable} -c 'import sys, urllib.request as web; web.urlopen(sys.argv[1], timeout=30)' %s"
        browser = {"BROWSER": visit, "REPRISE_HOME": str(tmp_path)}
        os.execve(sys.executable, [*command, "--trust-config", str(config)], {**os.environ, **browser})
    screen = b""
    with contextlib.suppress(OSError):  # EIO: the child is gone
        while data := os.read(terminal, 4096):
            screen += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, screen.decode()
    rules = [Rule(sigstore.provider.url, sigstore.provider.user)]
    (found,) = [bundle for _, bundle in stored_bundles(store, image)]
    verify_keyless(found, root_of(sigstore), rules, image)


def sign(store: Store, image: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reprise", "sign", image, "--store", str(store.root), "--json", *options]
    environment = {**os.environ, "REPRISE_HOME": str(store.root / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
