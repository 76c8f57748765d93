"""cosign, the program, on what we signed by a private Sigstore; and our code on what cosign signed there."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from keyless_signing import BUILDER, Rule, verify_keyless
from private_sigstore import PrivateSigstore, private_sigstore
from tests.interop.test_signatures import put_unsigned, registry_bundles

from reprise.trust.keyless_signer import KeylessSigner, read_trust_config
from reprise.trust.sign import attest, sign_image
from reprise_trainer.errors import DoesNotHoldError

PROVENANCE = "https://slsa.dev/provenance/v1"


@pytest.fixture(params=[(1, False), (2, True)], ids=["v1", "v2+time"])
def sigstore(request: pytest.FixtureRequest) -> Iterator[PrivateSigstore]:
    with private_sigstore(rekor=request.param[0], timestamps=request.param[1]) as instance:
        yield instance


@pytest.fixture
def options(sigstore: PrivateSigstore, tmp_path: Path) -> list[str]:
    """How cosign is told which Sigstore and which signer; nothing insecure among them."""
    root = tmp_path / "root.json"
    root.write_text(json.dumps(sigstore.trusted_root()))
    return [
        *("--trusted-root", str(root), *(["--use-signed-timestamps"] if sigstore.timestamps else [])),
        *("--certificate-oidc-issuer", sigstore.provider.url, "--certificate-identity"),
    ]


def test_cosign_verifies_our_keyless_signature_and_attestation(
    cosign: Any, registry: Any, signed_image: Any, sigstore: PrivateSigstore, options: list[str], tmp_path: Path
) -> None:
    store, image = signed_image.store, put_unsigned(signed_image.store)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(sigstore.trust_config()))
    signer = KeylessSigner(read_trust_config(config), lambda: sigstore.provider.token(BUILDER))
    sign_image(store, image, "small", signer)
    predicate = {"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {"id": "urn:x:y"}}}
    attest(store, image, "small", signer, PROVENANCE, predicate)
    reference = registry.push(store, image, f"keyless/ours-{sigstore.rekor}")
    claims = json.loads(cosign("verify", *options, BUILDER, reference).stdout)
    assert [each["critical"]["image"]["docker-manifest-digest"] for each in claims] == [image, image]
    assert PROVENANCE in [each["critical"]["type"] for each in claims]  # it takes any statement for a signature
    printed = cosign("verify-attestation", *options, BUILDER, "--type", "slsaprovenance1", reference).stdout
    assert json.loads(base64.b64decode(json.loads(printed)["payload"]))["predicate"] == predicate
    assert cosign("verify", *options, f"{BUILDER}x", reference, check=False).returncode != 0


def test_we_verify_what_cosign_signed_keyless(
    cosign: Any, registry: Any, signed_image: Any, sigstore: PrivateSigstore, tmp_path: Path
) -> None:
    image = put_unsigned(signed_image.store)
    repository = f"keyless/theirs-{sigstore.rekor}"
    reference = registry.push(signed_image.store, image, repository)
    config, root = tmp_path / "signing.json", tmp_path / "root.json"
    config.write_text(json.dumps(sigstore.signing_config()))
    root.write_text(json.dumps(sigstore.trusted_root()))
    token = sigstore.provider.token(BUILDER)
    trust = ("--signing-config", str(config), "--trusted-root", str(root))
    cosign("sign", "-y", *trust, "--identity-token", token, reference)
    (bundle,) = registry_bundles(registry.host, repository, image)
    statement = verify_keyless(bundle, root.read_bytes(), [Rule(sigstore.provider.url, BUILDER)], image)
    assert statement.key_name.startswith(BUILDER)
    with pytest.raises(DoesNotHoldError):
        verify_keyless(bundle, root.read_bytes(), [Rule(sigstore.provider.url, "https://other.example.org")], image)
