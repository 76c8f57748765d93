"""Keyless signatures against a private Sigstore: made, stored, verified offline; and each thing that must not hold."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from private_sigstore import PrivateSigstore, private_sigstore
from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import Signer, SigningContext

from reprise.store import Store
from reprise.trust.keyless import is_keyless, read_trusted_root, verify_keyless
from reprise.trust.keyless_signer import KeylessSigner, ambient_token, read_trust_config, token_from_file
from reprise.trust.sign import sign_image, stored_bundles
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import (
    DoesNotHoldError,
    InputError,
    NotFoundError,
    RepriseError,
    SystemFailureError,
    UnavailableError,
)
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement, sign_statement

BUILDER = "https://ci.example.org/lab/image.yml@refs/heads/main"
DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


@dataclass(frozen=True)
class Rule:
    issuer: str
    subject: str = ""
    subject_pattern: str = ""


def signer(sigstore: PrivateSigstore, subject: str = BUILDER, **claims: Any) -> KeylessSigner:
    config = ClientTrustConfig.from_json(json.dumps(sigstore.trust_config()))
    return KeylessSigner(config, lambda: sigstore.provider.token(subject, **claims))


def signed(sigstore: PrivateSigstore, subject: str = BUILDER, **claims: Any) -> bytes:
    return signer(sigstore, subject, **claims).sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))


def root_of(sigstore: PrivateSigstore) -> bytes:
    return json.dumps(sigstore.trusted_root()).encode()


@pytest.fixture(scope="module")
def sigstore() -> Iterator[PrivateSigstore]:
    with private_sigstore() as instance:
        yield instance


@pytest.fixture(scope="module")
def bundle(sigstore: PrivateSigstore) -> bytes:
    return signed(sigstore)


@pytest.fixture(scope="module")
def root(sigstore: PrivateSigstore) -> bytes:
    return root_of(sigstore)


@pytest.fixture
def rule(sigstore: PrivateSigstore) -> Rule:
    return Rule(sigstore.provider.url, BUILDER)


@pytest.mark.parametrize(("rekor", "timestamps"), [(1, False), (1, True), (2, True)], ids=["v1", "v1+time", "v2+time"])
def test_what_was_signed_verifies_after_the_whole_instance_is_gone(rekor: int, timestamps: bool) -> None:
    with private_sigstore(rekor=rekor, timestamps=timestamps) as instance:
        data = signed(instance)
    statement = verify_keyless(data, root_of(instance), [Rule(instance.provider.url, BUILDER)], DIGEST)
    assert statement.predicate_type == IMAGE_SIGNATURE
    assert statement.key_name == f"{BUILDER} ({instance.provider.url})"
    assert f"POST /api/v{rekor}/log/entries" in instance.requests


def test_it_is_stored_as_our_own_bundles_are(sigstore: PrivateSigstore, store: Store, image: str) -> None:
    made = signer(sigstore)
    referrer = sign_image(store, image, "one", made)
    (found,) = [bundle for name, bundle in stored_bundles(store, image) if name == referrer]
    assert is_keyless(found) and made.identity == f"{BUILDER} ({sigstore.provider.url})"
    verify_keyless(found, root_of(sigstore), [Rule(sigstore.provider.url, BUILDER)], image)
    assert store.manifest(referrer)["annotations"]["dev.sigstore.bundle.predicateType"] == IMAGE_SIGNATURE


def test_one_certificate_serves_all_signatures_of_a_signer(sigstore: PrivateSigstore) -> None:
    made, before = signer(sigstore), sigstore.requests.count("POST /api/v2/signingCert")
    for _ in range(3):
        made.sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))
    assert sigstore.requests.count("POST /api/v2/signingCert") == before + 1


def test_a_client_trust_config_serves_as_root(bundle: bytes, sigstore: PrivateSigstore, rule: Rule) -> None:
    verify_keyless(bundle, json.dumps(sigstore.trust_config()).encode(), [rule], DIGEST)


def test_an_email_is_a_subject(sigstore: PrivateSigstore, root: bytes) -> None:
    data = signed(sigstore, "somebody", email="somebody@example.org", email_verified=True)
    verify_keyless(data, root, [Rule(sigstore.provider.url, "somebody@example.org")], DIGEST)
    with pytest.raises(DoesNotHoldError):
        verify_keyless(data, root, [Rule(sigstore.provider.url, "somebody")], DIGEST)


@pytest.mark.parametrize(
    ("subject", "pattern", "holds"),
    [
        (BUILDER, "", True),
        (BUILDER + "x", "", False),
        (BUILDER[:-1], "", False),
        ("", r"https://ci\.example\.org/lab/.*@refs/heads/main", True),
        ("", r"https://ci\.example\.org/lab/", False),  # only a part
        ("", r".*heads/mai", False),
        ("", "", False),
    ],
)
def test_the_whole_subject_must_match(
    bundle: bytes, root: bytes, sigstore: PrivateSigstore, subject: str, pattern: str, holds: bool
) -> None:
    rules = [Rule(sigstore.provider.url, subject, pattern)]
    if holds:
        verify_keyless(bundle, root, rules, DIGEST)
        return
    with pytest.raises(DoesNotHoldError, match=r"signed by .*accepted"):
        verify_keyless(bundle, root, rules, DIGEST)


def test_the_issuer_must_be_the_same_and_one_rule_is_enough(bundle: bytes, root: bytes, rule: Rule) -> None:
    stranger = Rule("https://issuer.example.org", BUILDER)
    verify_keyless(bundle, root, [stranger, rule], DIGEST)
    with pytest.raises(DoesNotHoldError, match="accepted"):
        verify_keyless(bundle, root, [stranger], DIGEST)
    with pytest.raises(DoesNotHoldError, match="accepted: nobody"):
        verify_keyless(bundle, root, [], DIGEST)


def test_another_images_statement_does_not_hold(bundle: bytes, root: bytes, rule: Rule) -> None:
    with pytest.raises(DoesNotHoldError, match=f"is about {DIGEST}, not about {OTHER}"):
        verify_keyless(bundle, root, [rule], OTHER)


def test_a_changed_statement_does_not_hold(bundle: bytes, root: bytes, rule: Rule) -> None:
    document = json.loads(bundle)
    payload = base64.b64decode(document["dsseEnvelope"]["payload"])
    document["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(b"a" * 64, b"b" * 64)).decode()
    with pytest.raises(DoesNotHoldError, match="does not hold"):
        verify_keyless(json.dumps(document).encode(), root, [rule], OTHER)


@pytest.mark.parametrize("anchor", ["ctlogs", "tlogs", "timestampAuthorities", "certificateAuthorities"])
def test_each_anchor_of_the_root_is_needed(anchor: str) -> None:
    with private_sigstore(rekor=2, timestamps=True) as instance, private_sigstore() as stranger:
        data, trusted = signed(instance), instance.trusted_root()
        rules = [Rule(instance.provider.url, BUILDER)]
        verify_keyless(data, json.dumps(trusted).encode(), rules, DIGEST)
        trusted[anchor] = stranger.trusted_root()[anchor]
        with pytest.raises(DoesNotHoldError):
            verify_keyless(data, json.dumps(trusted).encode(), rules, DIGEST)


@pytest.mark.parametrize("missing", ["inclusionPromise", "inclusionProof", "all"])
def test_a_bundle_without_its_log_entry_does_not_hold(bundle: bytes, root: bytes, rule: Rule, missing: str) -> None:
    document = json.loads(bundle)
    entries = document["verificationMaterial"]["tlogEntries"]
    if missing == "all":
        entries.clear()
    else:
        del entries[0][missing]
    with pytest.raises(RepriseError):
        verify_keyless(json.dumps(document).encode(), root, [rule], DIGEST)


def test_the_log_entry_of_another_signature_does_not_hold(
    bundle: bytes, root: bytes, sigstore: PrivateSigstore
) -> None:
    document, other = json.loads(bundle), json.loads(signed(sigstore))
    document["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    with pytest.raises(DoesNotHoldError):
        verify_keyless(json.dumps(document).encode(), root, [Rule(sigstore.provider.url, BUILDER)], DIGEST)


def test_a_certificate_that_is_over_signs_nothing() -> None:
    with private_sigstore(certificate_lifetime=timedelta(seconds=1)) as instance:
        made = signer(instance)
        made.sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))
        time.sleep(1.5)
        with pytest.raises(UnavailableError, match="signing with Sigstore failed"):
            made.sign(make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))


@pytest.mark.parametrize("late", [-60, 700])
def test_a_signature_from_outside_its_certificates_time_does_not_hold(late: int) -> None:
    with private_sigstore(certificate_lifetime=timedelta(minutes=10)) as instance:
        instance.rekor1.late = late
        statement = make_statement("image", DIGEST, IMAGE_SIGNATURE, {})
        with pytest.raises(UnavailableError, match="signing with Sigstore failed"):
            signer(instance).sign(statement)  # what would not verify is not given out
        context = SigningContext.from_trust_config(ClientTrustConfig.from_json(json.dumps(instance.trust_config())))
        token = IdentityToken(instance.provider.token(BUILDER))
        data = Signer(token, context).sign_dsse(Statement(canonical_json(statement))).to_json().encode()
    with pytest.raises(DoesNotHoldError, match="does not hold"):
        verify_keyless(data, root_of(instance), [Rule(instance.provider.url, BUILDER)], DIGEST)


def test_the_root_is_pinned(tmp_path: Path, root: bytes) -> None:
    file = tmp_path / "trusted_root.json"
    file.write_bytes(root)
    assert read_trusted_root(file, sha256_digest(root)) == root
    file.write_bytes(root + b"\n")
    with pytest.raises(DoesNotHoldError, match="pinned is"):
        read_trusted_root(file, sha256_digest(root))
    with pytest.raises(NotFoundError, match="none"):
        read_trusted_root(tmp_path / "none", sha256_digest(root))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b'{"mediaType": "x"}', b"[" * 10_000])
def test_what_is_no_bundle_or_no_root_is_refused(bundle: bytes, root: bytes, rule: Rule, data: bytes) -> None:
    assert not is_keyless(data)
    with pytest.raises(InputError):
        verify_keyless(data, root, [rule], DIGEST)
    with pytest.raises(InputError):
        verify_keyless(bundle, data, [rule], DIGEST)


def test_a_bundle_by_a_key_is_not_keyless(root: bytes, rule: Rule, key: Any) -> None:
    data = sign_statement(key, make_statement("image", DIGEST, IMAGE_SIGNATURE, {}))
    assert not is_keyless(data)
    with pytest.raises(InputError, match="not a keyless Sigstore bundle"):
        verify_keyless(data, root, [rule], DIGEST)


@settings(max_examples=40)
@given(data=st.data())
def test_any_byte_changed_gives_a_clear_error_or_the_same_statement(
    bundle: bytes, root: bytes, sigstore: PrivateSigstore, data: st.DataObject
) -> None:
    at, byte = data.draw(st.integers(0, len(bundle) - 1)), data.draw(st.integers(0, 255))
    rules = [Rule(sigstore.provider.url, BUILDER)]
    try:
        found = verify_keyless(bundle[:at] + bytes([byte]) + bundle[at + 1 :], root, rules, DIGEST)
    except RepriseError:
        return
    assert found == verify_keyless(bundle, root, rules, DIGEST)


@pytest.mark.parametrize("service", ["/api/v2/signingCert", "/api/v1/log/entries"])
def test_a_service_that_is_down_is_one_message(service: str, store: Store, image: str) -> None:
    with private_sigstore() as instance:
        instance.down.add(service)
        with pytest.raises(UnavailableError, match="signing with Sigstore failed"):
            sign_image(store, image, "one", signer(instance))
    assert stored_bundles(store, image) == []


def test_without_sigstore_python_what_to_install_is_said(
    bundle: bytes, root: bytes, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore", None)
    with pytest.raises(SystemFailureError, match=r"reprise\[keyless\]"):
        verify_keyless(bundle, root, [rule], DIGEST)
    with pytest.raises(SystemFailureError, match=r"reprise\[keyless\]"):
        read_trust_config(None)


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
    sigstore: PrivateSigstore, store: Store, image: str, tmp_path: Path, root: bytes
) -> None:
    token = write(tmp_path / "token", sigstore.provider.token(BUILDER) + "\n")
    config = write(tmp_path / "config.json", json.dumps(sigstore.trust_config()))
    options = ("--keyless", "--identity-token", str(token), "--trust-config", str(config))
    done = sign(store, image, *options)
    printed = json.loads(done.stdout)
    assert done.returncode == 0 and printed["identity"] == f"{BUILDER} ({sigstore.provider.url})"
    assert "unsafe" not in done.stderr
    (found,) = [bundle for name, bundle in stored_bundles(store, image) if name == printed["signature"]]
    verify_keyless(found, root, [Rule(sigstore.provider.url, BUILDER)], image)
    assert not (store.root / "home").exists()  # neither a key nor a policy was made
    assert sign(store, image, "--identity-token", str(token)).returncode == 65
    assert sign(store, image, *options, "--key", "x").returncode == 65
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
