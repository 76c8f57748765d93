"""A run of an image that nobody signed with a key: the host judges the certificate, the trainer the host's word."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from keyless_signing import BUILDER, root_of, signer
from private_sigstore import private_sigstore

from reprise.audit.evidence import load_evidence, verify_evidence
from reprise.build import BuiltImage
from reprise.store import Store
from reprise.train import Launcher
from reprise.trust.keys import make_key
from reprise.trust.policy_file import with_launcher
from reprise.trust.sign import sign_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.identity.bundle import open_bundle
from reprise_trainer.identity.launch import DELEGATION_FILE
from reprise_trainer.identity.policy import Policy, SignerIdentity, write_policy
from tests.main_job.conftest import Trains


def test_a_keyless_image_runs_offline_by_its_policy_and_the_record_says_by_which(
    trains: Trains, launcher: Launcher, torch_cpu: BuiltImage, shared_store: Store
) -> None:
    with private_sigstore() as instance:
        sign_image(shared_store, torch_cpu.digest, "torch-cpu", signer(instance))
    root = root_of(instance)
    identities = (SignerIdentity(instance.provider.url, BUILDER),)
    policy = Policy((), identities=identities, trusted_root=sha256_digest(root), root=root)
    host = replace(launcher, key=make_key(), policy=policy)
    done = trains("keyless", who=host)
    assert done.measured_digest == torch_cpu.digest
    handed_over = write_policy(host.run_policy).encode()
    said = json.loads(open_bundle((done.output / DELEGATION_FILE).read_bytes()).payload)["predicate"]
    assert said["policy"] == sha256_digest(handed_over)
    auditor = with_launcher(launcher.policy, "gpu-host", host.key.public_key())
    assert verify_evidence(load_evidence(done.output, shared_store), auditor).chain.key_name == "gpu-host"
    with pytest.raises(DoesNotHoldError, match="not by a known key"):
        verify_evidence(load_evidence(done.output, shared_store), launcher.policy)
    others = replace(policy, identities=(SignerIdentity(instance.provider.url, f"{BUILDER}x"),))
    with pytest.raises(DoesNotHoldError, match="accepted:"):
        trains("others", who=replace(host, policy=others))
