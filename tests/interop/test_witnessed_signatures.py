"""cosign, the program, on signatures by a key that were witnessed later: no option named insecure is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from keyless_signing import root_of
from private_sigstore import PrivateSigstore, private_sigstore

from reprise.trust.keyless_signer import read_trust_config
from reprise.trust.policy_file import own_policy
from reprise.trust.proofs import SigstoreProofs
from reprise.trust.witness import Witnesses
from reprise.trust.witness_services import services_of
from reprise.witness import witness_image
from reprise_trainer.identity.bundle import public_pem


def witnesses(sigstore: PrivateSigstore, folder: Path) -> Witnesses:
    (folder / "config.json").write_text(json.dumps(sigstore.trust_config()))
    return Witnesses(services_of(read_trust_config(folder / "config.json")), SigstoreProofs(root_of(sigstore)))


@pytest.mark.parametrize(("rekor", "timestamps"), [(1, False), (1, True), (2, True)], ids=["v1", "v1+time", "v2+time"])
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
