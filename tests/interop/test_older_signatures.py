"""cosign 2, cosign 3 and podman, the programs, on the signatures of the older kind that we write, and beside theirs."""

from __future__ import annotations

import json
import shutil
import threading
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from oci_registry import OciRegistry, serve_registry

from reprise.registry.older_signatures import signature_tag
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.export import export_policy, write_export
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.simple_signing import SIMPLE_TYPE, sign_simply, simple_signatures
from reprise.trust.verify import verify_image
from reprise_trainer.identity.bundle import public_pem, read_public_key
from reprise_trainer.identity.policy import Policy, PolicyKey

from .conftest import put_image

OLDER = ["--insecure-ignore-tlog=true", "--output", "json"]
TRUSTED_ROOT = '{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'


@pytest.fixture
def signed_here(signed_image: Any, registry: Any, request: pytest.FixtureRequest) -> Any:
    """An image that is signed for a repository of its own and pushed there; gives both's names."""
    repository = f"{registry.host}/older/{zlib.crc32(request.node.name.encode())}"
    sign_simply(signed_image.store, signed_image.digest, repository, signed_image.key)
    report = push(signed_image.store, signed_image.digest, parse_reference(f"{repository}:1"))
    assert report.older_signatures == 1
    return repository, report.reference


def claims(printed: str) -> list[tuple[str, str]]:
    """(repository, digest) of each verified claim that cosign prints."""
    return [
        (each["critical"]["identity"]["docker-reference"], each["critical"]["image"]["docker-manifest-digest"])
        for each in json.loads(printed)
    ]


def test_both_cosigns_verify_it(
    cosign: Any, cosign_2: Any, signed_image: Any, signed_here: Any, tmp_path: Path
) -> None:
    repository, reference = signed_here
    key, root = public_file(tmp_path, signed_image.key), tmp_path / "root.json"
    root.write_text(TRUSTED_ROOT)
    older = cosign_2("verify", "--key", key, *OLDER, reference).stdout
    assert claims(older) == [(repository, signed_image.digest)]
    new = cosign(
        *("verify", "--new-bundle-format=false", "--trusted-root", str(root), "--key", key, *OLDER, reference)
    ).stdout
    assert claims(new) == [(repository, signed_image.digest)]


def test_cosign_2_refuses_it_under_another_key(cosign_2: Any, signed_here: Any, tmp_path: Path) -> None:
    strange = public_file(tmp_path, make_key())
    assert cosign_2("verify", "--key", strange, *OLDER, signed_here[1], check=False).returncode != 0


def test_a_bundle_alone_is_no_signature_to_cosign_2(
    cosign_2: Any, registry: Any, signed_image: Any, tmp_path: Path
) -> None:
    reference = registry.push(signed_image.store, signed_image.digest, "older/bundle-alone")
    key = public_file(tmp_path, signed_image.key)
    assert "no signatures found" in cosign_2("verify", "--key", key, *OLDER, reference, check=False).stderr


@pytest.mark.long
def test_podman_pulls_it_under_the_exported_policy_and_nothing_unsigned(
    new_podman: Any, registry: Any, signed_image: Any, signed_here: Any, tmp_path: Path
) -> None:
    repository, reference = signed_here
    folder, home = tmp_path / "exported", tmp_path / "home/.config/containers/registries.d"
    policy = Policy((PolicyKey("own", public_pem(signed_image.key.public_key())),), repositories=(repository,))
    write_export(export_policy(policy, "containers", folder, datetime.now(UTC)), folder)
    shutil.copytree(folder / "registries.d", home)
    pulled = ("pull", "--tls-verify=false", "--signature-policy", str(folder / "policy.json"))
    new_podman(*pulled, reference)
    assert json.loads(new_podman("image", "inspect", reference).stdout)[0]["Digest"] == signed_image.digest
    unsigned = push(signed_image.store, put_image(signed_image.store, "other"), parse_reference(f"{repository}:2"))
    assert "no signature exists" in new_podman(*pulled, unsigned.reference, check=False).stderr


def test_cosign_2_adds_to_ours_and_we_add_to_cosign_2s(
    cosign_2: Any, registry: Any, signed_image: Any, signed_here: Any, tmp_path: Path
) -> None:
    store, (repository, reference) = signed_image.store, signed_here
    theirs = tmp_path / "theirs"
    cosign_2("generate-key-pair", "--output-key-prefix", str(theirs))
    cosign_2("sign", "-y", "--key", f"{theirs}.key", "--tlog-upload=false", reference)
    third = make_key()
    sign_simply(store, signed_image.digest, repository, third)
    assert push(store, signed_image.digest, parse_reference(f"{repository}:1")).older_signatures == 1
    keys = [public_file(tmp_path, signed_image.key), f"{theirs}.pub", public_file(tmp_path, third)]
    for key in keys:
        verified = claims(cosign_2("verify", "--key", key, *OLDER, reference).stdout)
        assert verified == [(repository, signed_image.digest)]


def test_a_second_push_writes_nothing(signed_image: Any, signed_here: Any) -> None:
    repository, _ = signed_here
    report = push(signed_image.store, signed_image.digest, parse_reference(f"{repository}:1"))
    assert (report.older_signatures, report.manifests, report.uploaded) == (0, [], [])


def test_an_unchanged_push_asks_by_head_alone(signed_image: Any) -> None:
    with serve_registry(OciRegistry()) as served:
        repository = f"{served.host}/older/quiet"
        sign_simply(signed_image.store, signed_image.digest, repository, signed_image.key)
        push(signed_image.store, signed_image.digest, parse_reference(f"{repository}:1"))
        served.asked.clear()
        push(signed_image.store, signed_image.digest, parse_reference(f"{repository}:1"))
        assert served.methods() == {"HEAD"}


def test_a_signature_for_one_repository_is_not_put_into_another(
    registry: Any, signed_image: Any, cosign_2: Any
) -> None:
    sign_simply(signed_image.store, signed_image.digest, f"{registry.host}/older/meant", signed_image.key)
    report = push(signed_image.store, signed_image.digest, parse_reference(f"{registry.host}/older/other:1"))
    assert report.older_signatures == 0


def test_writers_at_once_lose_no_signature(registry: Any, signed_image: Any, cosign_2: Any, tmp_path: Path) -> None:
    repository = f"{registry.host}/older/many"
    push(signed_image.store, signed_image.digest, parse_reference(f"{repository}:1"))
    keys = [make_key() for _ in range(4)]
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            own = Store.open(tmp_path / f"store-{number}")
            pull(parse_reference(f"{repository}:1"), own)
            sign_simply(own, signed_image.digest, repository, keys[number])
            push(own, signed_image.digest, parse_reference(f"{repository}:1"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(keys))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for key in keys:
        cosign_2("verify", "--key", public_file(tmp_path, key), *OLDER, f"{repository}@{signed_image.digest}")


def test_a_pull_brings_it_so_that_it_can_be_pushed_again(signed_image: Any, signed_here: Any, tmp_path: Path) -> None:
    fresh = Store.open(tmp_path / "fresh")
    pull(parse_reference(signed_here[1]), fresh)
    ((_, signature),) = simple_signatures(fresh, signed_image.digest)
    assert signature.repository == signed_here[0] and signature.is_by(signed_image.key.public_key())


def test_what_cosign_2_and_skopeo_signed_comes_along_and_is_told(
    cosign_2: Any, new_skopeo: Any, registry: Any, signed_image: Any, tmp_path: Path
) -> None:
    repository, theirs = f"{registry.host}/older/theirs", tmp_path / "theirs"
    reference = push(signed_image.store, signed_image.digest, parse_reference(f"{repository}:1")).reference
    cosign_2("generate-key-pair", "--output-key-prefix", str(theirs))
    cosign_2("sign", "-y", "--key", f"{theirs}.key", "--tlog-upload=false", reference)
    attachments, passphrase = tmp_path / "registries.d", tmp_path / "passphrase"
    attachments.mkdir()
    (attachments / "all.yaml").write_text("default-docker: {use-sigstore-attachments: true}")
    passphrase.write_text("")
    signing = ("--sign-by-sigstore-private-key", f"{theirs}.key", "--sign-passphrase-file", str(passphrase))
    new_skopeo(
        *("--insecure-policy", "--registries.d", str(attachments), "copy", "--preserve-digests", *signing),
        *("--src-tls-verify=false", "--dest-tls-verify=false", f"docker://{reference}", f"docker://{repository}:2"),
    )
    fresh = Store.open(tmp_path / "fresh")
    report = pull(parse_reference(f"{repository}:2"), fresh)
    assert (report.digest, report.skipped) == (signed_image.digest, [])
    key = read_public_key(Path(f"{theirs}.pub").read_text())
    found = [signature for _, signature in simple_signatures(fresh, signed_image.digest)]
    assert found and all(signature.is_by(key) and signature.repository.startswith(repository) for signature in found)
    pull(parse_reference(f"{repository}:2"), fresh)
    assert len(simple_signatures(fresh, signed_image.digest)) == len(found)  # once
    judged = verify_image(fresh, signed_image.digest, own_policy(key))
    (told,) = (rule for rule in judged.rules if rule.rule == "signatures of the older kind")
    assert not judged.holds and (told.outcome, told.required) == ("not checked", False) and "by 'own'" in told.why


def test_rubbish_among_an_images_signatures_is_left_out(signed_image: Any, tmp_path: Path) -> None:
    store, digest = signed_image.store, signed_image.digest
    with serve_registry(OciRegistry()) as served:
        repository = f"{served.host}/older/rubbish"
        sign_simply(store, digest, repository, signed_image.key)
        push(store, digest, parse_reference(f"{repository}:1"))
        place = ("older/rubbish", signature_tag(digest))
        document = json.loads(served.manifests[place][0])
        (layer,) = document["layers"]
        huge = store.add(b" " * 70000)
        served.blobs["older/rubbish", huge] = b" " * 70000
        document["layers"] += [
            {**layer, "digest": huge, "size": 70000},
            {**layer, "annotations": {"dev.cosignproject.cosign/signature": 3}},
            {**layer, "digest": "sha256:" + "0" * 64, "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}},
            {**layer, "annotations": []},
        ]
        served.manifests[place] = (json.dumps(document).encode(), served.manifests[place][1])
        fresh = Store.open(tmp_path / "fresh")
        report = pull(parse_reference(f"{repository}:1"), fresh)
        assert len(report.skipped) == 2 and any("longer than" in each for each in report.skipped)
        ((_, signature),) = simple_signatures(fresh, digest)
        assert signature.is_by(signed_image.key.public_key())
        served.manifests[place] = (b"[]", served.manifests[place][1])
        assert len(pull(parse_reference(f"{repository}:1"), Store.open(tmp_path / "again")).skipped) == 1


def test_signing_again_with_the_same_key_adds_nothing(signed_image: Any) -> None:
    store, digest, key = signed_image.store, signed_image.digest, signed_image.key
    place = "registry.example.org/team/small"
    assert sign_simply(store, digest, place, key) == sign_simply(store, digest, place, key)
    assert len(store.referrers(digest, SIMPLE_TYPE)) == 1
    sign_simply(store, digest, place, make_key())
    sign_simply(store, digest, f"{place}-2", key)
    assert len(store.referrers(digest, SIMPLE_TYPE)) == 3


@pytest.mark.parametrize("rubbish", [b"", b"null", b"[]", b'{"critical": 3}', b"{" * 5000, b" " * 70000])
def test_a_damaged_signature_is_none(signed_image: Any, rubbish: bytes) -> None:
    note = {"dev.cosignproject.cosign/signature": "AAAA"}
    signed_image.store.attach(signed_image.digest, SIMPLE_TYPE, [("", SIMPLE_TYPE, rubbish)], note)
    assert simple_signatures(signed_image.store, signed_image.digest) == []


def public_file(folder: Path, key: ec.EllipticCurvePrivateKey) -> str:
    path = folder / f"{signature_tag(str(hash(key)))}.pub"
    path.write_text(public_pem(key.public_key()))
    return str(path)
