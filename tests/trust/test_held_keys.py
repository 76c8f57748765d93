"""Keys that a token, a cloud's key service or Vault holds: what they sign is what a PEM key would have signed.

The token is SoftHSM, the program. AWS's service is moto, an independent implementation of its protocol, asked by boto3;
what it lacks of it (MessageType DIGEST) is added here.
Vault is a stand-in (`vault_transit.py`). Google's and Azure's services can't be had here: of them only the way to
securesystemslib is tried.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from servers import docker_registry
from soft_token import PIN, SoftToken, soft_token
from tests.cli.conftest import project, reprise
from tests.interop.conftest import cosign, cosign_2, key_options, put_image
from vault_transit import TOKEN, Transit, serve_transit

from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.delegation import delegate
from reprise.trust.held_keys import HeldKey, is_held, open_held_key
from reprise.trust.keys import make_key
from reprise.trust.pkcs11_uri import TokenKey, parse_pkcs11_uri
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image, stored_bundles
from reprise.trust.simple_signing import sign_simply
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, NotFoundError, RepriseError, SystemFailureError, UnavailableError
from reprise_trainer.identity.bundle import key_hint, open_bundle, public_pem, verify_bundle
from reprise_trainer.identity.judge import all_hold, evaluate

__all__ = ["cosign", "cosign_2", "project", "reprise"]  # fixtures

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def pin(what: str) -> bytes:
    return PIN.encode()


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftToken]:
    with soft_token(tmp_path_factory.mktemp("token")) as made:
        yield made


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    """A client of a key service on loopback, which is also the one that `awskms:` finds."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moto.kms.utils.ECDSAPrivateKey.sign", _sign_digest)
        for name in list(os.environ):
            if name.startswith("AWS_"):
                patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        yield boto3.client("kms")
    server.stop()


def _sign_digest(self: Any, message: bytes, signing_algorithm: str) -> bytes:
    """As AWS does for MessageType DIGEST, the one that is asked for: the message is a SHA-256 already."""
    assert signing_algorithm == "ECDSA_SHA_256" and len(message) == 32
    signed: bytes = self.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
    return signed


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Transit]:
    with serve_transit(Transit({"release": [make_key(), make_key()]})) as transit:
        monkeypatch.setenv("VAULT_ADDR", transit.address)
        monkeypatch.setenv("VAULT_TOKEN", TOKEN)
        yield transit


def made_by(aws: Any, spec: str) -> str:
    return str(aws.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)["KeyMetadata"]["KeyId"])


def requires_a_signature_like_a_pem_key_s(key: HeldKey, folder: Path) -> None:
    """The bundle holds under the key's policy alone, with the hint and the form of signature of every other key."""
    store = Store.open(folder / "store")
    image = put_image(store, "small")
    sign_image(store, image, "small", key)
    ((_, bundle),) = stored_bundles(store, image)
    opened = open_bundle(bundle)
    assert opened.hint == key_hint(key.public_key())
    assert all(part > 0 for part in decode_dss_signature(opened.signature))
    assert all_hold(evaluate(own_policy(key.public_key()), image, [bundle], at=NOW))
    assert not all_hold(evaluate(own_policy(make_key().public_key()), image, [bundle], at=NOW))
    assert len({sign_image(store, image, "small", key) for _ in range(2)}) == 1  # signed already


def test_a_token_s_key_signs(token: SoftToken, tmp_path: Path) -> None:
    requires_a_signature_like_a_pem_key_s(open_held_key(token.uri(), pin), tmp_path)


def test_an_amazon_key_signs(aws: Any, tmp_path: Path) -> None:
    key_id = made_by(aws, "ECC_NIST_P256")
    requires_a_signature_like_a_pem_key_s(open_held_key(f"awskms:{key_id}"), tmp_path / "id")
    aws.create_alias(AliasName="alias/release", TargetKeyId=key_id)
    requires_a_signature_like_a_pem_key_s(open_held_key("awskms:///alias/release"), tmp_path / "alias")


def test_a_vault_key_signs(vault: Transit, tmp_path: Path) -> None:
    newest, older = open_held_key("hashivault:release"), open_held_key("hashivault://release/1")
    requires_a_signature_like_a_pem_key_s(newest, tmp_path / "newest")
    requires_a_signature_like_a_pem_key_s(older, tmp_path / "older")
    assert [public_pem(key.public_key()) for key in vault.keys["release"]] == [
        public_pem(each.public_key()) for each in (older, newest)
    ]


def test_a_token_s_key_lets_a_run_key_sign(token: SoftToken) -> None:
    key, digest = open_held_key(token.uri(), pin), sha256_digest(b"")
    bundle = delegate(key, make_key().public_key(), image=digest, config=digest, snapshot=digest, run="run-1", now=NOW)
    assert verify_bundle(bundle, {"own": key.public_key()}).predicate["run"] == "run-1"


def test_the_pin_is_asked_once_for_all_signatures(token: SoftToken) -> None:
    asked: list[str] = []

    def ask(what: str) -> bytes:
        asked.append(what)
        return PIN.encode()

    key = open_held_key(token.uri(), ask)
    for _ in range(3):
        key.sign(b"x", ec.ECDSA(hashes.SHA256()))
    assert asked == ["the token 'release' (its PIN)"]


def test_both_cosigns_verify_what_a_token_signed(token: SoftToken, cosign: Any, cosign_2: Any, tmp_path: Path) -> None:
    key, store = open_held_key(token.uri(), pin), Store.open(tmp_path / "store")
    image = put_image(store, "small")
    with docker_registry(tmp_path / "registry") as host:
        sign_image(store, image, "small", key)
        sign_simply(store, image, f"{host}/held/small", key)
        reference = push(store, image, parse_reference(f"{host}/held/small:1")).reference
        options = key_options(tmp_path, key)
        cosign("verify", *options, reference)
        cosign_2("verify", *options[:2], options[-1], reference)


@pytest.mark.parametrize(
    ("id_", "options", "kind", "said"),
    [
        ("%03", {}, NotFoundError, "key"),
        ("%01", {"token": "other"}, NotFoundError, "No PKCS#11 token found for label other"),
        ("%02", {}, InputError, "expected P-256"),
        ("%01", {"module": "/nowhere.so"}, UnavailableError, "nowhere.so"),
    ],
)
def test_what_is_not_there_is_said(
    token: SoftToken, id_: str, options: dict[str, str], kind: type[RepriseError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        open_held_key(token.uri(id_, **options), pin)


def test_a_token_without_a_driver_is_said(token: SoftToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYKCS11LIB", raising=False)
    with pytest.raises(InputError, match="which driver"):
        open_held_key("pkcs11:token=release;id=%01", pin)


def test_a_wrong_pin_is_said_and_not_tried_again(token: SoftToken) -> None:
    asked = []
    key = open_held_key(token.uri(), lambda what: asked.append(what) or b"0000")  # type: ignore[func-returns-value]
    with pytest.raises(InputError, match="PIN is not accepted"):
        key.sign(b"x", ec.ECDSA(hashes.SHA256()))
    assert len(asked) == 1


def test_other_kinds_of_keys_are_refused(aws: Any, vault: Transit) -> None:
    for spec in ("ECC_NIST_P384", "RSA_2048"):
        with pytest.raises(RepriseError, match=r"ecdsa-sha2-nistp256|P-256"):
            open_held_key(f"awskms:{made_by(aws, spec)}")
    vault.kind = "ed25519"
    with pytest.raises(InputError, match="expected ecdsa-p256"):
        open_held_key("hashivault:release")


def test_a_service_that_denies_or_is_silent_is_said(aws: Any, vault: Transit, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError, match="NotFound"):
        open_held_key("awskms:alias/none")
    with pytest.raises(InputError, match="no version 7"):
        open_held_key("hashivault:release/7")
    with pytest.raises(UnavailableError, match="InvalidPath"):
        open_held_key("hashivault:none")
    monkeypatch.setenv("VAULT_TOKEN", "s.wrong")
    with pytest.raises(UnavailableError, match="Forbidden"):
        open_held_key("hashivault:release")
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="Connection"):
        open_held_key("hashivault:release")


def test_a_signature_of_another_key_is_not_used(vault: Transit) -> None:
    key = open_held_key("hashivault:release")
    vault.keys["release"].reverse()
    with pytest.raises(UnavailableError, match="does not verify"):
        key.sign(b"x", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("reference", "module", "extra"),
    [
        ("pkcs11:id=%01?module-path=/x.so", "securesystemslib.signer", "hsm"),
        ("awskms:1", "securesystemslib.signer", "aws"),
        ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", None, "gcp"),
        ("azurekms://v.vault.azure.net/keys/k", None, "azure"),
        ("hashivault:k", "hvac", "vault"),
    ],
)
def test_a_missing_library_is_named_with_what_brings_it(
    reference: str, module: str | None, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemFailureError) as caught:
        open_held_key(reference, pin)
    assert f"reprise[{extra}]" in caught.value.hint


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("pkcs11:id=%01?pin-value=1234", "would show the PIN"),
        ("pkcs11:id=%01;pin-source=file:/x", "would show the PIN"),
        ("pkcs11:token=x", "names no id"),
        ("pkcs11:token=x;id=", "1 to 32 bytes"),
        ("pkcs11:id=%00%01", "not 0"),
        ("pkcs11:id=%01;id=%02", "at 'id=%02'"),
        ("pkcs11:id=%01;slot-id=3", "slot-id"),
        ("pkcs11:nonsense", "at 'nonsense'"),
    ],
)
def test_a_uri_that_finds_no_key_or_shows_the_pin_is_refused(uri: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_pkcs11_uri(uri)


def test_a_uri_is_read() -> None:
    uri = "pkcs11:model=x;token=My%20token;object=k;id=%0A%02?module-path=/usr/lib/a%20b.so"
    assert parse_pkcs11_uri(uri) == TokenKey("My token", 0x0A02, "/usr/lib/a b.so")


@pytest.mark.parametrize("name", ["key.pem", "./awskms", "C:key.pem", "pkcs11", "dir/pkcs11:x"])
def test_a_file_is_no_reference(name: str) -> None:
    assert not is_held(name)


def test_the_commands_take_a_token_s_key_and_its_pin_from_a_command(
    reprise: Any, token: SoftToken, tmp_path: Path
) -> None:
    put_image(Store.open(tmp_path / "store"), "small")
    secret = tmp_path / "pin"
    secret.write_text(f"{PIN}\n")
    told = ("--key", token.uri(), "--passphrase-command", f"cat {secret}")
    shown = json.loads(reprise("key", *told, "--json").out)
    assert shown["held"] == token.uri()
    signed = reprise("sign", "small", *told, "--repository", "registry.example.org/small", "--json")
    assert signed.code == 0, signed.err
    assert json.loads(signed.out)["key"] == shown["fingerprint"] and "no passphrase" not in signed.err
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[keys]]\nname = "token"\npublic_key = """\n{shown["public_key"]}"""\n')
    assert reprise("verify", "small", "--policy", policy).code == 0
    secret.write_text("0000\n")
    put_image(Store.open(tmp_path / "store"), "other")
    wrong = reprise("sign", "other", *told)
    assert wrong.code == 65 and "PIN is not accepted" in wrong.err
    assert reprise("key", *told, "--encrypt").code == 2
    assert base64.b64decode(shown["fingerprint"])
