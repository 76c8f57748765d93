"""oras and cosign, the programs, beside us on registries with and without the referrers API: each reads the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry

from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import attest
from reprise.trust.simple_signing import SIMPLE_TYPE, sign_simply
from reprise.trust.verify import verify_image
from reprise_trainer.identity.bundle import BUNDLE_TYPE, IMAGE_SIGNATURE, read_public_key
from reprise_trainer.identity.policy import Policy, PolicyKey

from .conftest import key_options, put_image

PROVENANCE = "https://slsa.dev/provenance/v1"
NOTE_TYPE = "application/vnd.test.note.v1"


@pytest.fixture(params=["docker-registry", "referrers API"])
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "docker-registry":
        yield request.getfixturevalue("registry").host
        return
    with serve_registry(OciRegistry()) as served:
        yield served.host


@pytest.fixture
def pushed(signed_image: Any, host: str, request: pytest.FixtureRequest) -> str:
    """The image with two bundles, a signature of the older kind, and a note on a bundle; its tagged reference."""
    name = "".join(char for char in request.node.name.lower() if char.isalnum())
    store, digest, reference = signed_image.store, signed_image.digest, f"{host}/copies/{name}:1"
    attest(store, digest, "small", signed_image.key, PROVENANCE, {"buildDefinition": {}, "runDetails": {}})
    sign_simply(store, digest, reference.rpartition(":")[0], signed_image.key)
    store.attach(signed_image.signature, NOTE_TYPE, [("note", "text/plain", b"about the signature")])
    push(store, digest, parse_reference(reference))
    return reference


def required(key: Any) -> Policy:
    """Asks of one key for an image signature and a provenance."""
    return Policy(own_policy(key.public_key()).keys, predicates=(IMAGE_SIGNATURE, PROVENANCE))


def test_oras_discovers_what_we_attached(oras: Any, pushed: str, signed_image: Any) -> None:
    seen = json.loads(oras("discover", "--plain-http", "--format", "json", pushed).stdout)
    found = {each["digest"]: each for each in seen["referrers"]}
    ours = {each["digest"]: each["artifactType"] for each in signed_image.store.referrers(signed_image.digest)}
    assert {digest: each["artifactType"] for digest, each in found.items()} == ours
    assert sorted(ours.values()) == [SIMPLE_TYPE, BUNDLE_TYPE, BUNDLE_TYPE]
    (note,) = found[signed_image.signature]["referrers"]
    assert note["artifactType"] == NOTE_TYPE


def test_what_oras_copied_holds_under_the_policy(
    oras: Any, pushed: str, signed_image: Any, registry: Any, tmp_path: Path
) -> None:
    plain = ("--from-plain-http", "--to-plain-http")
    with serve_registry(OciRegistry()) as elsewhere:
        for number, target in enumerate(
            (f"{registry.host}/copies/copied-{pushed.split(':')[1][:5]}:2", f"{elsewhere.host}/b/c:3")
        ):
            oras("cp", "-r", *plain, pushed, target)
            fresh = Store.open(tmp_path / f"fresh-{number}")
            report = pull(parse_reference(target), fresh)
            assert report.digest == signed_image.digest and not report.skipped
            assert set(fresh.listed()) == set(signed_image.store.listed())
            assert verify_image(fresh, report.digest, required(signed_image.key), name=target).holds
            assert not verify_image(fresh, report.digest, required(make_key()), name=target).holds


@pytest.mark.long
def test_oras_copies_through_a_layout_and_the_store_is_one(
    oras: Any, pushed: str, signed_image: Any, host: str, tmp_path: Path
) -> None:
    layout, target = tmp_path / "layout", f"{host}/copies/from-layout:4"
    oras("cp", "-r", "--from-plain-http", "--to-oci-layout", pushed, f"{layout}:x")
    oras("cp", "-r", "--from-oci-layout", "--to-plain-http", f"{layout}:x", target)
    straight = f"{host}/copies/from-store:5"
    oras("cp", "-r", "--from-oci-layout", "--to-plain-http", f"{signed_image.store.root}:small", straight)
    for number, copy in enumerate((target, straight)):
        fresh = Store.open(tmp_path / f"fresh-{number}")
        report = pull(parse_reference(copy), fresh)
        assert verify_image(fresh, report.digest, required(signed_image.key), name=copy).holds


def test_what_oras_attached_comes_along_and_what_we_attach_later_joins_it(
    oras: Any, pushed: str, signed_image: Any, tmp_path: Path
) -> None:
    (tmp_path / "report.txt").write_text("all well")
    attached = oras(
        *("attach", "--plain-http", "--disable-path-validation", "--artifact-type", NOTE_TYPE, "--format", "json"),
        *(pushed, f"{tmp_path}/report.txt:text/plain"),
    )
    theirs = json.loads(attached.stdout)["digest"]
    own = signed_image.store.attach(signed_image.digest, "application/vnd.test.other.v1", [("x", "text/plain", b"x")])
    push(signed_image.store, signed_image.digest, parse_reference(pushed))
    fresh = Store.open(tmp_path / "fresh")
    pull(parse_reference(pushed), fresh)
    assert {theirs, own} <= set(fresh.listed())
    assert list(fresh.files(theirs).values()) == [b"all well"]
    seen = json.loads(oras("discover", "--plain-http", "--format", "json", pushed).stdout)
    assert {theirs, own} <= {each["digest"] for each in seen["referrers"]}


def test_what_cosign_signed_and_attested_holds_under_our_policy(cosign: Any, host: str, tmp_path: Path) -> None:
    made, reference = Store.open(tmp_path / "made"), f"{host}/copies/theirs:1"
    digest = put_image(made, "unsigned")
    push(made, digest, parse_reference(reference))
    key, predicate = tmp_path / "theirs", tmp_path / "predicate.json"
    cosign("generate-key-pair", "--output-key-prefix", str(key))
    predicate.write_text('{"buildDefinition": {"buildType": "x"}, "runDetails": {"builder": {"id": "urn:x:y"}}}')
    signing = ("-y", "--key", f"{key}.key", *offline(tmp_path))
    cosign("sign", *signing, reference)
    fresh = Store.open(tmp_path / "signed-alone")
    public = read_public_key(Path(f"{key}.pub").read_text())
    policy = Policy((PolicyKey("theirs", Path(f"{key}.pub").read_text()),), predicates=(IMAGE_SIGNATURE, PROVENANCE))
    pull(parse_reference(reference), fresh)
    assert verify_image(fresh, digest, own_policy(public), name=reference).holds
    assert not verify_image(fresh, digest, policy, name=reference).holds  # no provenance yet
    cosign("attest", *signing, "--type", "slsaprovenance1", "--predicate", str(predicate), reference)
    pull(parse_reference(reference), fresh)
    assert verify_image(fresh, digest, policy, name=reference).holds
    assert not verify_image(fresh, digest, required(make_key()), name=reference).holds


@pytest.mark.long
def test_cosign_verifies_what_oras_copied(
    oras: Any, cosign: Any, pushed: str, signed_image: Any, host: str, tmp_path: Path
) -> None:
    target = f"{host}/copies/for-cosign:6"
    oras("cp", "-r", "--from-plain-http", "--to-plain-http", pushed, target)
    options = key_options(tmp_path, signed_image.key)
    cosign("verify", *options, target)
    cosign("verify-attestation", *options, "--type", "slsaprovenance1", target)


def offline(folder: Path) -> list[str]:
    """cosign's options to sign with a key and ask no service."""
    config, root = folder / "signing.json", folder / "root.json"
    config.write_text(
        '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}'
    )
    root.write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    return ["--signing-config", str(config), "--trusted-root", str(root)]
