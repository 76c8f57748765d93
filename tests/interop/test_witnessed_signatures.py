"""cosign, the program, on signatures by a key that were witnessed later: no option named insecure is needed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from keyless_signing import BUILDER, root_of, signer
from private_sigstore import PrivateSigstore, private_sigstore
from tests.interop.test_signatures import put_unsigned, registry_bundles

from reprise.trust.keyless_signer import read_trust_config
from reprise.trust.policy_file import own_policy
from reprise.trust.proofs import SigstoreProofs
from reprise.trust.sign import attest, sign_image
from reprise.trust.witness import Witnesses
from reprise.trust.witness_services import services_of
from reprise.witness import witness_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.bundle import public_pem, read_public_key
from reprise_trainer.identity.judge import all_hold, evaluate


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between two questions take no time."""
    monkeypatch.setattr("reprise.trust.witness_services.sleep", lambda seconds: None)


def witnesses(sigstore: PrivateSigstore, folder: Path) -> Witnesses:
    (folder / "config.json").write_text(json.dumps(sigstore.trust_config()))
    return Witnesses(services_of(read_trust_config(folder / "config.json")), SigstoreProofs(root_of(sigstore)))


@pytest.mark.parametrize(
    ("rekor", "timestamps"),
    [(1, False), pytest.param(1, True, marks=pytest.mark.long), (2, True)],
    ids=["v1", "v1+time", "v2+time"],
)
def test_cosign_verifies_what_was_witnessed_and_refuses_it_before(
    cosign: Any, registry: Any, signed_image: Any, tmp_path: Path, rekor: int, timestamps: bool
) -> None:
    (tmp_path / "key.pub").write_text(public_pem(signed_image.key.public_key()))
    with private_sigstore(rekor=rekor, timestamps=timestamps) as instance:
        (tmp_path / "root.json").write_text(json.dumps(instance.trusted_root()))
        options = ["--key", str(tmp_path / "key.pub"), "--trusted-root", str(tmp_path / "root.json")]
        options += ["--use-signed-timestamps"] if timestamps else []
        repository = f"witnessed/{rekor}-{timestamps}".lower()
        reference = registry.push(signed_image.store, signed_image.digest, repository)
        assert cosign("verify", *options, reference, check=False).returncode != 0
        policy = own_policy(signed_image.key.public_key())
        report = witness_image(signed_image.store, signed_image.digest, policy, witnesses(instance, tmp_path))
    assert report.complete
    registry.push(signed_image.store, signed_image.digest, repository)
    (claim,) = json.loads(cosign("verify", *options, reference).stdout)
    assert claim["critical"]["image"]["docker-manifest-digest"] == signed_image.digest
    with private_sigstore() as stranger:
        (tmp_path / "root.json").write_text(json.dumps(stranger.trusted_root()))
    assert cosign("verify", *options, reference, check=False).returncode != 0


def test_cosign_2_verifies_a_witnessed_statement_without_an_option_named_insecure(
    cosign_2: Any, registry: Any, signed_image: Any, tmp_path: Path
) -> None:
    (tmp_path / "key.pub").write_text(public_pem(signed_image.key.public_key()))
    kind = "urn:reprise:run:v1"
    attest(signed_image.store, signed_image.digest, "small", signed_image.key, kind, {"run": "r1"})
    options = ["--new-bundle-format", "--key", str(tmp_path / "key.pub"), "--type", kind]
    options += ["--trusted-root", str(tmp_path / "root.json")]
    with private_sigstore() as instance:
        (tmp_path / "root.json").write_text(json.dumps(instance.trusted_root()))
        reference = registry.push(signed_image.store, signed_image.digest, "witnessed/cosign-2")
        assert cosign_2("verify-attestation", *options, reference, check=False).returncode != 0
        policy = own_policy(signed_image.key.public_key())
        witness_image(signed_image.store, signed_image.digest, policy, witnesses(instance, tmp_path))
    registry.push(signed_image.store, signed_image.digest, "witnessed/cosign-2")
    assert "payload" in cosign_2("verify-attestation", *options, reference).stdout


@pytest.mark.parametrize("rekor", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_log_entry_of_cosign_s_counts_for_our_policy(
    cosign: Any, registry: Any, signed_image: Any, tmp_path: Path, rekor: int
) -> None:
    image = put_unsigned(signed_image.store)
    reference = registry.push(signed_image.store, image, f"witnessed/theirs-{rekor}")
    key = tmp_path / "theirs"
    cosign("generate-key-pair", "--output-key-prefix", str(key))
    with private_sigstore(rekor=rekor, timestamps=True) as instance:
        config, root = tmp_path / "signing.json", root_of(instance)
        config.write_text(json.dumps(instance.signing_config()))
        (tmp_path / "root.json").write_bytes(root)
        trust = ("--signing-config", str(config), "--trusted-root", str(tmp_path / "root.json"))
        cosign("sign", "-y", "--key", f"{key}.key", *trust, reference)
    policy = own_policy(read_public_key(Path(f"{key}.pub").read_text()))
    policy = replace(policy, trusted_root=sha256_digest(root), log=True, time=True)
    bundles = registry_bundles(registry.host, f"witnessed/theirs-{rekor}", image)
    results = evaluate(policy, image, bundles, at=datetime.now(UTC), proofs=SigstoreProofs(root))
    assert all_hold(results), results
    stranger = root_of(PrivateSigstore(1, True, timedelta(minutes=10)))
    policy = replace(policy, trusted_root=sha256_digest(stranger))
    assert not all_hold(evaluate(policy, image, bundles, at=datetime.now(UTC), proofs=SigstoreProofs(stranger)))


@pytest.mark.parametrize(
    ("rekor", "late"),
    [pytest.param(1, 0, marks=pytest.mark.long), (1, 86_400), pytest.param(2, 0, marks=pytest.mark.long)],
    ids=["v1", "v1, late", "v2"],
)
def test_cosign_verifies_a_keyless_signature_whose_log_entry_came_later(
    cosign: Any, registry: Any, signed_image: Any, tmp_path: Path, rekor: int, late: int
) -> None:
    store, image = signed_image.store, put_unsigned(signed_image.store)
    with private_sigstore(rekor=rekor, timestamps=True) as instance:
        instance.down.add(f"/api/v{rekor}/log/entries")
        sign_image(store, image, "small", signer(instance))
        instance.down.clear()
        instance.rekor1.late = late
        policy = own_policy(signed_image.key.public_key())
        assert witness_image(store, image, policy, witnesses(instance, tmp_path)).complete
    (tmp_path / "root.json").write_text(json.dumps(instance.trusted_root()))
    reference = registry.push(store, image, f"witnessed/keyless-{rekor}-{late}")
    options = ["--trusted-root", str(tmp_path / "root.json"), "--use-signed-timestamps"]
    options += ["--certificate-oidc-issuer", instance.provider.url, "--certificate-identity"]
    assert json.loads(cosign("verify", *options, BUILDER, reference).stdout)
    assert cosign("verify", *options, f"{BUILDER}x", reference, check=False).returncode != 0
