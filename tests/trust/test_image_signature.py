from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.store import Store
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import attach_bundle, sign_image, stored_bundles
from reprise.trust.verify import verify_image
from reprise_trainer.errors import DoesNotHoldError, NotFoundError
from reprise_trainer.identity.bundle import BUNDLE_TYPE, IMAGE_SIGNATURE, make_statement, sign_statement

Key = ec.EllipticCurvePrivateKey


def test_a_signed_image_verifies_with_each_rule_named(store: Store, image: str, key: Key) -> None:
    sign_image(store, image, "torch-cpu", key)
    report = verify_image(store, image, own_policy(key.public_key()))
    assert report.holds
    report.require()
    assert [(each["rule"], each["outcome"]) for each in report.as_json()["rules"]] == [
        ("manifest has the digest asked for", "holds"),
        (f"signed statement {IMAGE_SIGNATURE}", "holds"),
        ("transparency log", "not checked"),
        ("layer contents", "not checked"),
    ]


def test_the_referrer_has_the_form_that_cosign_writes(store: Store, image: str, key: Key) -> None:
    referrer = store.manifest(sign_image(store, image, "torch-cpu", key))
    assert referrer["artifactType"] == BUNDLE_TYPE
    assert referrer["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    assert [layer["mediaType"] for layer in referrer["layers"]] == [BUNDLE_TYPE]
    assert "annotations" not in referrer["layers"][0]
    assert referrer["subject"]["digest"] == image
    assert referrer["annotations"] == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": IMAGE_SIGNATURE,
    }


def test_signing_twice_adds_nothing(store: Store, image: str, key: Key) -> None:
    first = sign_image(store, image, "torch-cpu", key)
    index = (store.root / "index.json").read_bytes()
    assert sign_image(store, image, "torch-cpu", key) == first
    assert (store.root / "index.json").read_bytes() == index


def test_two_keys_may_both_sign(store: Store, image: str, key: Key, stranger: Key) -> None:
    sign_image(store, image, "torch-cpu", stranger)
    assert not verify_image(store, image, own_policy(key.public_key())).holds
    sign_image(store, image, "torch-cpu", key)
    assert len(stored_bundles(store, image)) == 2
    assert verify_image(store, image, own_policy(key.public_key())).holds
    assert verify_image(store, image, own_policy(stranger.public_key())).holds


def test_an_unsigned_image_is_refused_with_the_reason(store: Store, image: str, key: Key) -> None:
    with pytest.raises(DoesNotHoldError, match="the image has no signatures"):
        verify_image(store, image, own_policy(key.public_key())).require()


def test_a_signature_of_another_image_does_not_move(store: Store, image: str, other_image: str, key: Key) -> None:
    bundle = sign_statement(key, make_statement("x", other_image, IMAGE_SIGNATURE, {}))
    attach_bundle(store, image, bundle, IMAGE_SIGNATURE)
    report = verify_image(store, image, own_policy(key.public_key()))
    assert not report.holds
    assert other_image in next(each.why for each in report.rules if each.outcome == "fails")


def test_annotations_are_not_believed(store: Store, image: str, key: Key) -> None:
    bundle = sign_statement(key, make_statement("x", image, "https://spdx.dev/Document", {}))
    attach_bundle(store, image, bundle, IMAGE_SIGNATURE)
    assert not verify_image(store, image, own_policy(key.public_key())).holds


def test_a_wrong_index_entry_does_not_hide_a_signature(store: Store, image: str, key: Key) -> None:
    referrer = sign_image(store, image, "torch-cpu", key)
    index = json.loads((store.root / "index.json").read_bytes())
    entry = next(each for each in index["manifests"] if each["digest"] == referrer)
    entry["artifactType"] = "application/vnd.oci.empty.v1+json"
    (store.root / "index.json").write_text(json.dumps(index))
    assert verify_image(store, image, own_policy(key.public_key())).holds


def test_a_damaged_manifest_fails_its_rule(store: Store, image: str, key: Key) -> None:
    sign_image(store, image, "torch-cpu", key)
    store.path(image).write_bytes(store.path(image).read_bytes().replace(b"tar", b"raw"))
    report = verify_image(store, image, own_policy(key.public_key()))
    assert not report.holds
    assert report.rules[0].outcome == "fails" and "damaged" in report.rules[0].why


def test_a_damaged_bundle_counts_as_absent(store: Store, image: str, key: Key) -> None:
    referrer = sign_image(store, image, "torch-cpu", key)
    blob = store.path(store.manifest(referrer)["layers"][0]["digest"])
    blob.write_bytes(blob.read_bytes()[:-10])
    assert not verify_image(store, image, own_policy(key.public_key())).holds


def test_an_image_that_is_not_there_is_named(store: Store, key: Key) -> None:
    absent = "sha256:" + "0" * 64
    with pytest.raises(NotFoundError, match=absent):
        sign_image(store, absent, "x", key)
    with pytest.raises(NotFoundError, match=absent):
        verify_image(store, absent, own_policy(key.public_key()))
