"""The bill of materials of a real image: kept beside it, signed once, asked for by a policy."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from reprise.bom.attest import CYCLONEDX, attest_bill, bill_of_materials, keep_bill
from reprise.bom.document import MEDIA_TYPE
from reprise.build import LOCK_TYPE, BuiltImage
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image, stored_bundles
from reprise.trust.verify import verify_image
from reprise_trainer.errors import DoesNotHoldError, NotFoundError
from reprise_trainer.identity.bundle import verify_bundle


def test_the_attestation_says_what_the_document_says(store: Store, torch_cpu: BuiltImage) -> None:
    key = make_key()
    referrer = attest_bill(store, torch_cpu.digest, key)
    bundle = dict(stored_bundles(store, torch_cpu.digest))[referrer]
    statement = verify_bundle(bundle, {"own": key.public_key()})
    document = bill_of_materials(store, torch_cpu.digest)
    assert statement.predicate_type == CYCLONEDX and statement.is_about(torch_cpu.digest)
    assert statement.predicate == json.loads(document)
    (kept,) = store.referrers(torch_cpu.digest, MEDIA_TYPE)
    assert list(store.files(kept["digest"]).values()) == [document]


def test_a_second_time_adds_nothing(store: Store, torch_cpu: BuiltImage) -> None:
    key = make_key()
    first = attest_bill(store, torch_cpu.digest, key)
    count = len(store.referrers(torch_cpu.digest))
    assert attest_bill(store, torch_cpu.digest, key) == first
    assert keep_bill(store, torch_cpu.digest, bill_of_materials(store, torch_cpu.digest))
    assert len(store.referrers(torch_cpu.digest)) == count


def test_a_policy_can_require_it(store: Store, torch_cpu: BuiltImage) -> None:
    key = make_key()
    policy = own_policy(key.public_key())
    strict = dataclasses.replace(policy, predicates=(*policy.predicates, CYCLONEDX))
    sign_image(store, torch_cpu.digest, "torch-cpu", key)
    assert verify_image(store, torch_cpu.digest, policy).holds
    assert not verify_image(store, torch_cpu.digest, strict).holds
    attest_bill(store, torch_cpu.digest, make_key())  # a stranger's
    assert not verify_image(store, torch_cpu.digest, strict).holds
    attest_bill(store, torch_cpu.digest, key)
    assert verify_image(store, torch_cpu.digest, strict).holds and verify_image(store, torch_cpu.digest, policy).holds


def test_a_planted_document_is_not_what_gets_signed(store: Store, torch_cpu: BuiltImage) -> None:
    key = make_key()
    keep_bill(store, torch_cpu.digest, b'{"components":[]}')
    referrer = attest_bill(store, torch_cpu.digest, key)
    statement = verify_bundle(dict(stored_bundles(store, torch_cpu.digest))[referrer], {"own": key.public_key()})
    assert len(statement.predicate["components"]) > 50


def test_a_lock_that_is_not_the_images_gives_no_bill(store: Store, torch_cpu: BuiltImage) -> None:
    (lock,) = store.referrers(torch_cpu.digest, LOCK_TYPE)
    files = store.files(lock["digest"])
    index = json.loads((store.root / "index.json").read_bytes())
    index["manifests"] = [each for each in index["manifests"] if each["digest"] != lock["digest"]]
    (store.root / "index.json").write_text(json.dumps(index))
    with pytest.raises(NotFoundError, match="the lock of image"):
        bill_of_materials(store, torch_cpu.digest)
    files["layers.json"] += b"\n"
    store.attach(torch_cpu.digest, LOCK_TYPE, [(name, "application/json", data) for name, data in files.items()])
    with pytest.raises(DoesNotHoldError, match="the image names lock"):
        bill_of_materials(store, torch_cpu.digest)


def test_the_command_writes_the_same_bytes(store: Store, torch_cpu: BuiltImage, tmp_path: Path, capfd: Any) -> None:
    from reprise.cli.sbom import command

    command("torch-cpu", tmp_path / "bom.json", store.root, as_json=True)
    assert json.loads(capfd.readouterr().out)["image"] == torch_cpu.digest
    command(torch_cpu.digest, None, store.root)
    printed = capfd.readouterr().out.encode()
    assert (tmp_path / "bom.json").read_bytes() == printed.rstrip(b"\n") == bill_of_materials(store, torch_cpu.digest)
