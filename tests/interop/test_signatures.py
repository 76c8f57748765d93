"""cosign, the program, on signatures that we wrote; and our code on those that cosign wrote."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import requests

from reprise.bom.attest import CYCLONEDX
from reprise.bom.contents import Package
from reprise.bom.document import Subject, cyclonedx_document
from reprise.bom.licences import Licences
from reprise.bom.provenance import SLSA_PROVENANCE, provenance
from reprise.lock.model import Artifact
from reprise.lock.read import read_lock
from reprise.project import Project
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import attach_bundle, attest, sign_image
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement, read_public_key, sign_statement
from reprise_trainer.identity.judge import all_hold, evaluate


def test_cosign_verifies_our_signature(cosign: Any, registry: Any, signed_image: Any, cosign_key_options: Any) -> None:
    reference = registry.push(signed_image.store, signed_image.digest, "ours/signed")
    printed = cosign("verify", *cosign_key_options, reference)
    (claim,) = json.loads(printed.stdout)
    assert claim["critical"]["image"]["docker-manifest-digest"] == signed_image.digest


def test_cosign_refuses_an_unsigned_image(
    cosign: Any, registry: Any, signed_image: Any, cosign_key_options: Any
) -> None:
    unsigned = put_unsigned(signed_image.store)
    reference = registry.push(signed_image.store, unsigned, "ours/unsigned")
    assert "no signatures found" in cosign("verify", *cosign_key_options, reference, check=False).stderr


def test_cosign_refuses_a_strangers_signature(
    cosign: Any, registry: Any, signed_image: Any, cosign_key_options: Any
) -> None:
    image = put_unsigned(signed_image.store)
    sign_image(signed_image.store, image, "small", make_key())
    reference = registry.push(signed_image.store, image, "ours/stranger")
    assert cosign("verify", *cosign_key_options, reference, check=False).returncode != 0


def test_cosign_refuses_our_signature_moved_to_another_image(
    cosign: Any, registry: Any, signed_image: Any, cosign_key_options: Any
) -> None:
    other = put_unsigned(signed_image.store)
    bundle = sign_statement(signed_image.key, make_statement("small", signed_image.digest, IMAGE_SIGNATURE, {}))
    attach_bundle(signed_image.store, other, bundle, IMAGE_SIGNATURE)
    reference = registry.push(signed_image.store, other, "ours/moved")
    assert cosign("verify", *cosign_key_options, reference, check=False).returncode != 0


def test_cosign_verifies_our_statements_of_other_types(
    cosign: Any, registry: Any, signed_image: Any, cosign_key_options: Any
) -> None:
    kind = "urn:reprise:run:v1"
    bundle = sign_statement(signed_image.key, make_statement("small", signed_image.digest, kind, {"run": "r1"}))
    attach_bundle(signed_image.store, signed_image.digest, bundle, kind)
    reference = registry.push(signed_image.store, signed_image.digest, "ours/attested")
    assert "payload" in cosign("verify-attestation", *cosign_key_options, "--type", kind, reference).stdout


def test_cosign_verifies_our_bill_of_materials(
    cosign: Any, registry: Any, signed_image: Any, cosign_key_options: Any
) -> None:
    store, digest = signed_image.store, signed_image.digest
    package = Package(Artifact("pkg:pypi/alpha@1.0?file_name=a.whl", "a" * 64), Licences("MIT"), ())
    bill = json.loads(cyclonedx_document(Subject("small", digest, 0, (package.artifact.purl,)), [package]))
    attest(store, digest, "small", signed_image.key, CYCLONEDX, bill)
    reference = registry.push(store, digest, "ours/bill")
    printed = cosign("verify-attestation", *cosign_key_options, "--type", "cyclonedx", reference).stdout
    statement = json.loads(base64.b64decode(json.loads(printed)["payload"]))
    assert statement["predicate"] == bill and statement["subject"][0]["digest"]["sha256"] == digest.split(":")[1]
    other = cosign("verify-attestation", *cosign_key_options, "--type", "spdxjson", reference, check=False)
    assert other.returncode != 0


def test_cosign_verifies_our_provenance(
    cosign: Any, registry: Any, signed_image: Any, cosign_key_options: Any, project: Project
) -> None:
    store, digest = signed_image.store, signed_image.digest
    lock = read_lock(project.lock_folder("torch-cpu"))
    predicate = provenance(lock, "sha256:" + "5" * 64, "urn:example:builder:ci")
    attest(store, digest, "small", signed_image.key, SLSA_PROVENANCE, predicate)
    reference = registry.push(store, digest, "ours/provenance")
    asked = ("verify-attestation", *cosign_key_options, "--type", "slsaprovenance1")
    statement = json.loads(base64.b64decode(json.loads(cosign(*asked, reference).stdout)["payload"]))
    assert statement["predicate"] == predicate and statement["subject"][0]["digest"]["sha256"] == digest.split(":")[1]
    policy = Path(cosign_key_options[1]).with_name("builder.cue")
    for builder, code in (("urn:example:builder:ci", 0), ("urn:example:builder:other", 1)):
        policy.write_text(f'predicate: runDetails: builder: id: "{builder}"\n')
        assert cosign(*asked, "--policy", str(policy), reference, check=False).returncode == code, builder


def test_our_policy_holds_for_what_cosign_signed(cosign: Any, registry: Any, signed_image: Any, tmp_path: Path) -> None:
    unsigned = put_unsigned(signed_image.store)
    reference = registry.push(signed_image.store, unsigned, "theirs/signed")
    config, root = tmp_path / "signing-config.json", tmp_path / "root.json"
    config.write_text(
        '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}'
    )
    root.write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    key = tmp_path / "theirs"
    cosign("generate-key-pair", "--output-key-prefix", str(key))
    offline = ["--signing-config", str(config), "--trusted-root", str(root)]
    cosign("sign", "-y", "--key", f"{key}.key", *offline, reference)
    policy = own_policy(read_public_key(Path(f"{key}.pub").read_text()))
    bundles = registry_bundles(registry.host, "theirs/signed", unsigned)
    assert all_hold(evaluate(policy, unsigned, bundles))
    assert not all_hold(evaluate(policy, signed_image.digest, bundles))
    assert not all_hold(evaluate(own_policy(signed_image.key.public_key()), unsigned, bundles))


def put_unsigned(store: Store) -> str:
    """A second image with other bytes: the first one's config under another label."""
    from reprise_trainer.identity.inventory import Inventory, image_bytes

    image = image_bytes(Inventory((), {"architecture": "amd64", "os": "linux", "config": {"Labels": {"a": "b"}}}))
    store.add(image.inventory_layer)
    store.add(image.config)
    return store.put_manifest(image.manifest, tag="unsigned")


def registry_bundles(host: str, repository: str, digest: str) -> list[bytes]:
    """The bundles that point at an image in a registry without the referrers API."""
    base = f"http://{host}/v2/{repository}"
    accept = {
        "Accept": "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
    }
    index = requests.get(f"{base}/manifests/{digest.replace(':', '-')}", headers=accept, timeout=10).json()
    found = []
    for entry in index["manifests"]:
        manifest = requests.get(f"{base}/manifests/{entry['digest']}", headers=accept, timeout=10).json()
        found.append(requests.get(f"{base}/blobs/{manifest['layers'][0]['digest']}", timeout=10).content)
    return found
