"""What lies beside an image may be of any size and shape: it is not read whole, and silences no good signature."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.store import Store
from reprise.trust.policy_file import load_policy, own_policy
from reprise.trust.sign import sign_image
from reprise.trust.simple_signing import SIGNATURE_NOTE, SIMPLE_TYPE, simple_payload
from reprise.trust.verify import verify_image
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import BUNDLE_TYPE, IMAGE_SIGNATURE, make_statement, sign_statement
from reprise_trainer.identity.inventory import MANIFEST_TYPE

GIGABYTE = 1 << 30
Key = ec.EllipticCurvePrivateKey


@contextmanager
def at_most(limit: int) -> Iterator[None]:
    """The block never has more bytes of memory than that."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def huge(store: Store, name: str) -> str:
    """A blob of 1 GB (a hole) under a made-up digest."""
    digest = "sha256:" + name * 64
    with (store.root / "blobs" / "sha256" / (name * 64)).open("wb") as file:
        file.truncate(GIGABYTE)
    return digest


def refer(store: Store, image: str, blob: str, size: int) -> None:
    """A referrer whose only layer is `blob`, listed as a bundle."""
    empty = store.add(b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": BUNDLE_TYPE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": BUNDLE_TYPE, "digest": blob, "size": size}],
        "subject": {"mediaType": MANIFEST_TYPE, "digest": image, "size": 1},
    }
    store.put_manifest(canonical_json(manifest), artifact_type=BUNDLE_TYPE)


@pytest.mark.parametrize("said", [GIGABYTE, 500], ids=["honest size", "size that lies"])
def test_a_bundle_of_a_gigabyte_is_not_read(store: Store, image: str, key: Key, said: int) -> None:
    refer(store, image, huge(store, "b"), said)
    with at_most(64 << 20):
        assert not verify_image(store, image, own_policy(key.public_key())).holds
        sign_image(store, image, "x", key)
        assert verify_image(store, image, own_policy(key.public_key())).holds


def test_a_referrer_manifest_of_a_gigabyte_is_not_read(store: Store, image: str, key: Key) -> None:
    sign_image(store, image, "x", key)
    listed = store.attach(image, BUNDLE_TYPE, [("", BUNDLE_TYPE, b"{}")])
    with store.path(listed).open("wb") as file:
        file.truncate(GIGABYTE)
    with at_most(64 << 20):
        assert verify_image(store, image, own_policy(key.public_key())).holds


def test_an_image_manifest_of_a_gigabyte_fails_its_rule(store: Store, image: str, key: Key) -> None:
    sign_image(store, image, "x", key)
    with store.path(image).open("wb") as file:
        file.truncate(GIGABYTE)
    with at_most(64 << 20):
        report = verify_image(store, image, own_policy(key.public_key()))
    assert not report.holds and "no manifest" in report.rules[0].why


@pytest.mark.parametrize("note", ["\u00e9", "====", "YQ==", ""])
def test_a_signature_of_the_older_kind_that_is_none_harms_nobody(store: Store, image: str, key: Key, note: str) -> None:
    sign_image(store, image, "x", key)
    payload = simple_payload(image, "registry.example.org/a")
    store.attach(image, SIMPLE_TYPE, [("", SIMPLE_TYPE, payload)], {SIGNATURE_NOTE: note})
    report = verify_image(store, image, own_policy(key.public_key()))
    assert report.holds and "1, by no key of the policy" in str(report.rules[-2])


@pytest.mark.parametrize("depth", [100, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_deeply_nested_referrer_silences_nobody(store: Store, image: str, key: Key, depth: int, opening: str) -> None:
    sign_image(store, image, "x", key)
    closing = "]" if opening == "[" else "}"
    store.put_manifest((opening * depth + "1" + closing * depth).encode(), artifact_type=BUNDLE_TYPE)
    assert verify_image(store, image, own_policy(key.public_key())).holds


@pytest.mark.parametrize(
    "text", ['{"subject":"x"}', '{"subject":null}', '{"subject":[1]}', "null", "3", '{"subject":{"digest":7}}']
)
def test_a_referrer_of_any_shape_silences_nobody(store: Store, image: str, key: Key, text: str) -> None:
    sign_image(store, image, "x", key)
    store.put_manifest(text.encode(), artifact_type=BUNDLE_TYPE)
    assert verify_image(store, image, own_policy(key.public_key())).holds


def test_a_tampered_payload_does_not_hold(store: Store, image: str, other_image: str, key: Key) -> None:
    referrer = sign_image(store, other_image, "x", key)
    bundle = store.read(store.manifest(referrer)["layers"][0]["digest"])
    theirs = sign_statement(key, make_statement("x", image, IMAGE_SIGNATURE, {}))
    mixed = json.loads(bundle)
    mixed["dsseEnvelope"]["payload"] = json.loads(theirs)["dsseEnvelope"]["payload"]
    blob = store.add(canonical_json(mixed))
    refer(store, image, blob, len(store.read(blob)))
    report = verify_image(store, image, own_policy(key.public_key()))
    assert not report.holds and any("or the statement was changed" in each.why for each in report.rules)


def test_a_bundle_cut_short_does_not_hold(store: Store, image: str, key: Key) -> None:
    bundle = sign_statement(key, make_statement("x", image, IMAGE_SIGNATURE, {}))
    for length in (0, 1, len(bundle) // 2, len(bundle) - 1):
        blob = store.add(bundle[:length])
        refer(store, image, blob, length)
    assert not verify_image(store, image, own_policy(key.public_key())).holds


def test_a_policy_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    with path.open("wb") as file:
        file.truncate(GIGABYTE)
    with at_most(64 << 20), pytest.raises(InputError, match="at most 1048576 bytes"):
        load_policy(path)
