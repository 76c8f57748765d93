"""SLSA provenance: of a lock, read by in-toto's own classes; of a real image, asked for by a policy."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor

from reprise.bom.contents import installed
from reprise.bom.provenance import (
    BUILD_TYPE,
    LOCAL_BUILDER,
    SLSA_PROVENANCE,
    attest_provenance,
    image_provenance,
    provenance,
)
from reprise.bom.sign_all import sign_all
from reprise.build import LOCK_TYPE, SOURCE_LABEL, BuiltImage
from reprise.lock.model import Lock
from reprise.lock.read import read_lock
from reprise.project import Project
from reprise.store import Store
from reprise.stored_image import read_inventory
from reprise.trust.keys import load_or_make_key, make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image, stored_bundles
from reprise.trust.verify import verify_image
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import verify_bundle

SOURCE = "sha256:" + "5" * 64
BUILDER = "urn:example:builder:ci"


@pytest.fixture(scope="session")
def lock(project: Project) -> Lock:
    return read_lock(project.lock_folder("torch-cpu"))


def read_by_in_toto(predicate: dict[str, Any]) -> Provenance:
    """The message that in-toto's library reads from a predicate; fields that it doesn't know are errors."""
    message = json_format.ParseDict(predicate, Provenance())
    for dependency in message.build_definition.resolved_dependencies:
        ResourceDescriptor.copy_from_pb(dependency).validate()
    return message


def test_in_totos_own_classes_read_it(lock: Lock) -> None:
    message = read_by_in_toto(provenance(lock, SOURCE, BUILDER))
    assert message.run_details.builder.id == BUILDER
    definition = message.build_definition
    assert definition.build_type == BUILD_TYPE
    assert json_format.MessageToDict(definition.external_parameters) == {
        "environment": "torch-cpu",
        "format": lock.format,
        "lock": lock.digest,
        "platform": "linux-64",
    }


def test_every_artifact_is_a_dependency_by_purl_and_hash(lock: Lock) -> None:
    message = read_by_in_toto(provenance(lock, SOURCE))
    named = {(each.uri, each.digest["sha256"]) for each in message.build_definition.resolved_dependencies if each.uri}
    assert named == {(artifact.purl, artifact.sha256) for artifact in lock.artifacts}
    (source,) = (each for each in message.build_definition.resolved_dependencies if not each.uri)
    assert (source.name, source.digest["sha256"]) == ("reprise-trainer", "5" * 64)


def test_what_stays_out_of_the_image_is_marked(lock: Lock) -> None:
    dependencies = provenance(lock, SOURCE)["buildDefinition"]["resolvedDependencies"]
    marked = {each["uri"] for each in dependencies if each.get("annotations") == {"category": "build"}}
    assert marked == {each.purl for each in lock.artifacts} - {each.purl for each in installed(lock)} and marked


def test_the_order_in_which_a_lock_lists_artifacts_changes_nothing(lock: Lock) -> None:
    shuffled = list(lock.artifacts)
    random.Random(7).shuffle(shuffled)
    other = dataclasses.replace(lock, artifacts=tuple(shuffled))
    assert canonical_json(provenance(other, SOURCE)) == canonical_json(provenance(lock, SOURCE))


def test_one_other_hash_is_another_provenance(lock: Lock) -> None:
    first, *rest = lock.artifacts
    other = dataclasses.replace(lock, artifacts=(dataclasses.replace(first, sha256="0" * 64), *rest))
    assert provenance(other, SOURCE) != provenance(lock, SOURCE)


@pytest.mark.parametrize("builder", ["", "me", "my builder", "urn:", "http://a b", "https://ci\n"])
def test_a_builder_that_is_no_uri_is_refused(lock: Lock, builder: str) -> None:
    with pytest.raises(InputError, match="must be a URI"):
        provenance(lock, SOURCE, builder)


def test_an_images_provenance_names_what_the_image_names(store: Store, torch_cpu: BuiltImage, lock: Lock) -> None:
    labels = read_inventory(store, torch_cpu.digest).config["config"]["Labels"]
    assert image_provenance(store, torch_cpu.digest) == provenance(lock, labels[SOURCE_LABEL], LOCAL_BUILDER)


def test_signing_twice_adds_nothing_and_another_builder_adds_one(store: Store, torch_cpu: BuiltImage) -> None:
    key = make_key()
    first = attest_provenance(store, torch_cpu.digest, key)
    assert attest_provenance(store, torch_cpu.digest, key) == first
    assert attest_provenance(store, torch_cpu.digest, key, BUILDER) != first
    statement = verify_bundle(dict(stored_bundles(store, torch_cpu.digest))[first], {"own": key.public_key()})
    assert statement.predicate_type == SLSA_PROVENANCE and statement.is_about(torch_cpu.digest)


def test_a_policy_can_require_it(store: Store, torch_cpu: BuiltImage) -> None:
    key = make_key()
    policy = own_policy(key.public_key())
    strict = dataclasses.replace(policy, predicates=(*policy.predicates, SLSA_PROVENANCE))
    sign_image(store, torch_cpu.digest, "torch-cpu", key)
    attest_provenance(store, torch_cpu.digest, make_key())  # a stranger's
    assert verify_image(store, torch_cpu.digest, policy).holds
    assert not verify_image(store, torch_cpu.digest, strict).holds
    attest_provenance(store, torch_cpu.digest, key)
    assert verify_image(store, torch_cpu.digest, strict).holds


def test_a_lock_that_is_not_the_images_gives_no_provenance(store: Store, torch_cpu: BuiltImage) -> None:
    (lock,) = store.referrers(torch_cpu.digest, LOCK_TYPE)
    files = store.files(lock["digest"])
    index = json.loads((store.root / "index.json").read_bytes())
    index["manifests"] = [each for each in index["manifests"] if each["digest"] != lock["digest"]]
    (store.root / "index.json").write_text(json.dumps(index))
    key = make_key()
    signed = sign_all(store, torch_cpu.digest, "torch-cpu", key)
    assert list(signed.referrers) == ["signature"]
    assert [each.partition(":")[0] for each in signed.left_out] == [
        "no provenance was signed",
        "no bill of materials was signed",
    ]
    files["layers.json"] += b"\n"
    store.attach(torch_cpu.digest, LOCK_TYPE, [(name, "application/json", data) for name, data in files.items()])
    with pytest.raises(DoesNotHoldError, match="the image names lock"):
        attest_provenance(store, torch_cpu.digest, key)


def test_the_command_signs_all_three(
    store: Store, torch_cpu: BuiltImage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from reprise.cli.sign import command

    load_or_make_key(tmp_path / "key.pem")
    command("torch-cpu", store.root, str(tmp_path / "key.pem"), builder=BUILDER, as_json=True)
    printed = json.loads(capfd.readouterr().out)
    assert {"signature", "provenance", "bill_of_materials"} <= printed.keys()
    manifest = store.manifest(printed["provenance"])
    assert manifest["annotations"]["dev.sigstore.bundle.predicateType"] == SLSA_PROVENANCE
    before = len(stored_bundles(store, torch_cpu.digest))
    with pytest.raises(InputError, match="must be a URI"):
        command("torch-cpu", store.root, str(tmp_path / "key.pem"), builder="me")
    assert len(stored_bundles(store, torch_cpu.digest)) == before
