"""Keyless signatures made while the log was down: the time stamp keeps them good until the log's entry comes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from keyless_signing import BUILDER, root_of, signer
from private_sigstore import PrivateSigstore, private_sigstore
from sigstore.models import ClientTrustConfig

from reprise.store import Store
from reprise.trust.proofs import SigstoreProofs
from reprise.trust.sign import sign_image, stored_bundles
from reprise.trust.verify import verify_image
from reprise.trust.witness import Witnesses
from reprise.trust.witness_services import services_of
from reprise.witness import witness_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import UnavailableError
from reprise_trainer.identity.policy import Policy, SignerIdentity

LOG_PATH = {1: "/api/v1/log/entries", 2: "/api/v2/log/entries"}


def witnesses(sigstore: PrivateSigstore) -> Witnesses:
    config = ClientTrustConfig.from_json(json.dumps(sigstore.trust_config()))
    return Witnesses(services_of(config), SigstoreProofs(root_of(sigstore)))


def policy_for(sigstore: PrivateSigstore) -> Policy:
    root = root_of(sigstore)
    identities = (SignerIdentity(sigstore.provider.url, BUILDER),)
    return Policy((), identities=identities, trusted_root=sha256_digest(root), root=root, log=True, time=True)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between two questions take no time."""
    monkeypatch.setattr("reprise.trust.witness_services.sleep", lambda seconds: None)


@pytest.mark.parametrize(
    ("rekor", "late"), [(1, 0), (1, 86_400), (2, 0)], ids=["v1", "v1, after the certificate's end", "v2"]
)
def test_the_entry_comes_later_and_until_then_the_policy_names_witness(
    store: Store, image: str, rekor: int, late: int
) -> None:
    with private_sigstore(rekor=rekor, timestamps=True) as instance:
        instance.down.add(LOG_PATH[rekor])
        made, policy = signer(instance), policy_for(instance)
        sign_image(store, image, "one", made)
        assert made.unlogged == 1 and made.identity == f"{BUILDER} ({instance.provider.url})"
        report = verify_image(store, image, policy)
        assert not report.holds and "no entry in a log; `reprise witness` adds one" in str(report.as_json())
        instance.down.clear()
        instance.rekor1.late = late
        asked = witness_image(store, image, policy, witnesses(instance))
    assert asked.complete and [each.log for _, each in asked.statements] == ["added"]
    assert verify_image(store, image, policy, at=datetime.now(UTC) + timedelta(days=4000)).holds
    strangers = replace(policy, identities=(SignerIdentity(instance.provider.url, f"{BUILDER}x"),))
    assert not verify_image(store, image, strangers).holds


def test_without_a_time_stamp_nothing_would_keep_it_good_and_nothing_is_kept(store: Store, image: str) -> None:
    with private_sigstore() as instance:
        instance.down.add(LOG_PATH[1])
        with pytest.raises(UnavailableError, match="gives no answer"):
            sign_image(store, image, "one", signer(instance))
    assert stored_bundles(store, image) == []


def test_an_entry_that_comes_late_to_a_bundle_without_a_stamp_does_not_help(store: Store, image: str) -> None:
    with private_sigstore(timestamps=True) as instance:
        instance.down.add(LOG_PATH[1])
        sign_image(store, image, "one", signer(instance))
        ((_, bundle),) = stored_bundles(store, image)
        document = json.loads(bundle)
        del document["verificationMaterial"]["timestampVerificationData"]
        instance.down.clear()
        instance.rekor1.late = 86_400
        done = witnesses(instance).witness(json.dumps(document).encode(), {})
    assert done.log == "failed" and "does not hold" in done.why
