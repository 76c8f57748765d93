"""Policies that name identities: what holds, and each thing that must not, one by one."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from keyless_signing import BUILDER, root_of, signer
from private_sigstore import PrivateSigstore, private_sigstore
from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import Signer, SigningContext

from reprise.bundle.accept import load_accepted
from reprise.bundle.write import write_bundle
from reprise.store import Store
from reprise.trust.policy_file import ROOT_FILE, load_policy, own_policy, save_new_policy
from reprise.trust.sign import attach_bundle, attest, sign_image, stored_bundles
from reprise.trust.verify import policy_bundles, verify_image
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement
from reprise_trainer.identity.judge import RuleResult
from reprise_trainer.identity.policy import Policy, PolicyKey, SignerIdentity, write_policy

Key = ec.EllipticCurvePrivateKey
SBOM = "https://cyclonedx.org/bom"
LATER = datetime.now(UTC) + timedelta(days=4000)


def policy_for(sigstore: PrivateSigstore, *identities: SignerIdentity, **changes: Any) -> Policy:
    root = root_of(sigstore)
    named = identities or (SignerIdentity(sigstore.provider.url, BUILDER),)
    policy = Policy((), identities=named, trusted_root=sha256_digest(root), root=root)
    return replace(policy, **changes)


def rule(store: Store, image: str, policy: Policy, name: str = "signed statement") -> RuleResult:
    report = verify_image(store, image, policy)
    (found,) = (each for each in report.rules if each.rule.startswith(name))
    assert report.holds == all(each.outcome == "holds" for each in report.rules if each.required)
    return found


def refused(store: Store, image: str, policy: Policy) -> str:
    """Why no signature counts; nothing that counts is handed on either."""
    assert not verify_image(store, image, policy).holds
    with pytest.raises(DoesNotHoldError):
        policy_bundles(store, image, policy)
    return rule(store, image, policy).why


def change_bundles(store: Store, image: str, change: Callable[[dict[str, Any]], None]) -> Store:
    """A store of the same image whose only bundles are changed ones."""
    other = Store.open(store.root.with_name("changed"))
    manifest = store.manifest(image)
    for digest in (manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])):
        other.add(store.read(digest))
    other.put_manifest(store.read(image))
    for _, bundle in stored_bundles(store, image):
        document = json.loads(bundle)
        change(document)
        attach_bundle(other, image, json.dumps(document).encode(), IMAGE_SIGNATURE)
    return other


def test_a_keyless_signature_holds_years_later_with_nobody_to_ask(store: Store, image: str) -> None:
    with private_sigstore() as instance:
        sign_image(store, image, "one", signer(instance))
        policy = policy_for(instance)
    report = verify_image(store, image, policy, at=LATER)
    assert report.holds
    assert [(each.rule, each.outcome, each.required) for each in report.rules] == [
        ("manifest has the digest asked for", "holds", True),
        ("trusted root", "holds", True),
        (f"signed statement {IMAGE_SIGNATURE}", "holds", True),
        ("transparency log", "holds", False),
        ("layer contents", "not checked", False),
    ]
    said = f"signed by {BUILDER} ({instance.provider.url}), proven to be there at {datetime.now(UTC):%Y-%m-}"
    assert report.rules[2].why.startswith(said)
    assert policy_bundles(store, image, policy, at=LATER) == [bundle for _, bundle in stored_bundles(store, image)]


@pytest.mark.parametrize(("rekor", "timestamps"), [(1, False), (1, True), (2, True)], ids=["v1", "v1+time", "v2+time"])
def test_log_and_time_that_are_asked_for_are_found(store: Store, image: str, rekor: int, timestamps: bool) -> None:
    with private_sigstore(rekor=rekor, timestamps=timestamps) as instance:
        sign_image(store, image, "one", signer(instance))
    policy = policy_for(instance, log=True, time=True)
    assert verify_image(store, image, policy).holds
    for name in ("transparency log", "proven time"):
        assert (rule(store, image, policy, name).outcome, rule(store, image, policy, name).required) == ("holds", True)


def test_keys_and_identities_are_counted_alike(sigstore: PrivateSigstore, store: Store, image: str, key: Key) -> None:
    keys = own_policy(key.public_key()).keys
    both = policy_for(sigstore, keys=keys, signers=2)
    sign_image(store, image, "one", signer(sigstore))
    assert "1 of at least 2 signers" in refused_count(store, image, both)
    sign_image(store, image, "one", signer(sigstore))  # once more, with another certificate: the same signer
    assert "1 of at least 2 signers" in refused_count(store, image, both)
    sign_image(store, image, "one", key)
    found = rule(store, image, both)
    assert found.outcome == "holds" and "2 of at least 2 signers" in found.why and "key 'own'" in found.why
    assert len(policy_bundles(store, image, both)) == 3
    assert verify_image(store, image, policy_for(sigstore, keys=keys)).holds


def refused_count(store: Store, image: str, policy: Policy) -> str:
    assert not verify_image(store, image, policy).holds
    return rule(store, image, policy).why


def test_everybody_under_one_pattern_is_one_signer(sigstore: PrivateSigstore, store: Store, image: str) -> None:
    url = sigstore.provider.url
    anybody = SignerIdentity(url, "", "https://ci\\.example\\.org/.*")
    for name in ("a", "b"):
        sign_image(store, image, "one", signer(sigstore, f"https://ci.example.org/{name}"))
    named = SignerIdentity(url, "https://ci.example.org/b")
    assert "1 of at least 2" in refused_count(store, image, policy_for(sigstore, anybody, named, signers=2))
    assert verify_image(store, image, policy_for(sigstore, named, anybody, signers=2)).holds


def test_each_required_statement_needs_its_signature(sigstore: PrivateSigstore, store: Store, image: str) -> None:
    asked, made = policy_for(sigstore, predicates=(IMAGE_SIGNATURE, SBOM)), signer(sigstore)
    sign_image(store, image, "one", made)
    assert not verify_image(store, image, asked).holds
    attest(store, image, "one", made, SBOM, {"components": []})
    assert verify_image(store, image, asked).holds


@pytest.mark.parametrize(
    ("subject", "pattern", "holds"),
    [
        (BUILDER, "", True),
        (BUILDER + "x", "", False),
        (BUILDER[:-1], "", False),
        ("", r"https://ci\.example\.org/lab/.*@refs/heads/main", True),
        ("", r"ci\.example\.org/lab/image\.yml", False),  # all of it is only contained
        ("", r"https://ci\.example\.org/lab/", False),
        ("", r"^https://ci\.example\.org", False),
        ("", r".*heads/mai", False),
        ("", r"https://evil\.example|.*/other", False),  # anchored as a whole, not its first and last branch
    ],
)
def test_a_subject_must_match_as_a_whole(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], subject: str, pattern: str, holds: bool
) -> None:
    policy = policy_for(sigstore, SignerIdentity(sigstore.provider.url, subject, pattern))
    assert verify_image(*signed_store, policy).holds == holds
    assert holds or f"signed by {BUILDER} ({sigstore.provider.url}), accepted:" in refused(*signed_store, policy)


@pytest.fixture(scope="module")
def signed_store(sigstore: PrivateSigstore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """A store whose one image is signed keyless; no test changes it."""
    from tests.trust.conftest import put_image

    store = Store.open(tmp_path_factory.mktemp("signed") / "store")
    image = put_image(store, "one")
    sign_image(store, image, "one", signer(sigstore))
    return store, image


def test_the_same_subject_of_another_issuer_is_somebody_else(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str]
) -> None:
    url = sigstore.provider.url
    for issuer in ("https://issuer.example.org", url + "/", url.replace("http", "https"), url.upper()):
        why = refused(*signed_store, policy_for(sigstore, SignerIdentity(issuer, BUILDER)))
        assert "accepted:" in why and issuer in why


@pytest.mark.parametrize("late", [-60, 700], ids=["before", "after"])
def test_a_certificate_that_was_not_valid_at_the_logs_time_is_refused(store: Store, image: str, late: int) -> None:
    with private_sigstore(certificate_lifetime=timedelta(minutes=10)) as instance:
        instance.rekor1.late = late
        attach_bundle(store, image, unverified(instance, image), IMAGE_SIGNATURE)
    assert "the keyless signature does not hold" in refused(store, image, policy_for(instance))


def unverified(sigstore: PrivateSigstore, image: str) -> bytes:
    """A keyless bundle that is not verified before it is given out, as our own signer does."""
    context = SigningContext.from_trust_config(ClientTrustConfig.from_json(json.dumps(sigstore.trust_config())))
    token = IdentityToken(sigstore.provider.token(BUILDER))
    statement = canonical_json(make_statement("image", image, IMAGE_SIGNATURE, {}))
    return Signer(token, context).sign_dsse(Statement(statement)).to_json().encode()


@pytest.mark.parametrize("anchor", ["tlogs", "certificateAuthorities", "ctlogs"])
def test_a_log_or_authority_that_the_root_does_not_know_is_refused(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], anchor: str
) -> None:
    with private_sigstore() as stranger:
        root = {**sigstore.trusted_root(), anchor: stranger.trusted_root()[anchor]}
    data = json.dumps(root).encode()
    policy = policy_for(sigstore, trusted_root=sha256_digest(data), root=data)
    assert rule(*signed_store, policy, "trusted root").outcome == "holds"
    assert "the keyless signature does not hold" in refused(*signed_store, policy)


def test_another_images_bundle_is_refused(
    sigstore: PrivateSigstore, store: Store, image: str, other_image: str
) -> None:
    sign_image(store, other_image, "two", signer(sigstore))
    ((_, bundle),) = stored_bundles(store, other_image)
    attach_bundle(store, image, bundle, IMAGE_SIGNATURE)
    assert f"is about another image: {other_image}" in refused(store, image, policy_for(sigstore))


def tamper(document: dict[str, Any]) -> None:
    payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    payload["subject"][0]["name"] = "changed"
    document["dsseEnvelope"]["payload"] = base64.b64encode(canonical_json(payload)).decode()


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document["verificationMaterial"]
        for name in path[:-1]:
            place = place[0 if name == "0" else name]
        del place[path[-1]]

    return change


@pytest.mark.parametrize(
    "change",
    [
        tamper,
        drop("tlogEntries"),
        drop("tlogEntries", "0", "inclusionProof"),
        drop("tlogEntries", "0", "inclusionPromise"),  # nothing else holds a time
        drop("tlogEntries", "0", "integratedTime"),
    ],
    ids=["payload", "no entry", "no proof", "no promise", "no time"],
)
def test_a_changed_bundle_is_refused(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    store, image = signed_store
    copy = change_bundles(_beside(store, tmp_path), image, change)
    assert refused(copy, image, policy_for(sigstore))
    same = change_bundles(_beside(store, tmp_path / "same"), image, lambda document: None)
    assert verify_image(same, image, policy_for(sigstore)).holds


def test_a_time_stamp_that_is_missing_or_anothers_is_refused(store: Store, image: str) -> None:
    with private_sigstore(rekor=2, timestamps=True) as instance:
        sign_image(store, image, "one", signer(instance))
    policy = policy_for(instance)
    assert verify_image(store, image, policy).holds
    copy = change_bundles(store, image, drop("timestampVerificationData"))
    assert refused(copy, image, policy)
    with private_sigstore(rekor=2, timestamps=True) as stranger:
        root = {**instance.trusted_root(), "timestampAuthorities": stranger.trusted_root()["timestampAuthorities"]}
    data = json.dumps(root).encode()
    assert refused(store, image, replace(policy, trusted_root=sha256_digest(data), root=data))


@pytest.mark.parametrize("root", ["another", "none", "unpinned", "no root"])
def test_without_the_pinned_root_nothing_holds(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], root: str
) -> None:
    good = policy_for(sigstore)
    data = b"{}"
    policy, outcome, why = {
        "another": (replace(good, root=good.root + b"\n"), "fails", f"pinned is {good.trusted_root}"),
        "none": (replace(good, root=b""), "fails", "is not here"),
        "unpinned": (replace(good, trusted_root=""), "not checked", "the policy pins none"),
        "no root": (replace(good, root=data, trusted_root=sha256_digest(data)), "holds", "as pinned"),
    }[root]
    found = rule(*signed_store, policy, "trusted root")
    assert found.outcome == outcome and why in found.why
    assert refused(*signed_store, policy)


def test_a_policy_without_identities_counts_no_certificate(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], key: Key
) -> None:
    assert "names no identities" in refused(*signed_store, own_policy(key.public_key()))


def test_without_sigstore_python_a_keyless_policy_does_not_hold(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sigstore", None)
    assert "sigstore-python is not installed" in refused(*signed_store, policy_for(sigstore))


def test_the_command_finds_the_root_beside_the_policy_or_by_name(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], tmp_path: Path
) -> None:
    policy = policy_for(sigstore)
    file, elsewhere = tmp_path / "policy.toml", tmp_path / "elsewhere.json"
    file.write_text(write_policy(policy))
    assert verify(signed_store, file).returncode == 1
    elsewhere.write_bytes(policy.root)
    assert verify(signed_store, file, "--trusted-root", str(elsewhere)).returncode == 0
    (tmp_path / ROOT_FILE).write_bytes(policy.root)
    done = verify(signed_store, file, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["holds"]
    assert load_policy(file) == policy and load_policy(file).root == policy.root
    (tmp_path / ROOT_FILE).write_bytes(policy.root + b" ")
    done = verify(signed_store, file, "--json")
    rules = {each["rule"]: each for each in json.loads(done.stdout)["rules"]}
    assert done.returncode == 1 and rules["trusted root"]["outcome"] == "fails"
    with pytest.raises(NotFoundError, match="nowhere"):
        load_policy(file, tmp_path / "nowhere.json")


def test_a_bundle_takes_policy_and_root_to_a_host_without_any_network(
    sigstore: PrivateSigstore, signed_store: tuple[Store, str], tmp_path: Path
) -> None:
    policy, there = policy_for(sigstore), Store.open(tmp_path / "there")
    text = write_policy(policy).encode()
    write_bundle(*signed_store, tmp_path / "one.tar", policy=text, trusted_root=policy.root)
    loaded = load_accepted(tmp_path / "one.tar", there, policy)
    assert loaded.policy is not None and loaded.trusted_root == policy.root
    (tmp_path / "came").mkdir()
    save_new_policy(loaded.policy, tmp_path / "came" / "policy.toml", loaded.trusted_root)
    assert verify_image(there, signed_store[1], load_policy(tmp_path / "came" / "policy.toml")).holds
    stranger = policy_for(sigstore, SignerIdentity(sigstore.provider.url, "https://other.example.org"))
    with pytest.raises(DoesNotHoldError, match="accepted: https://other"):
        load_accepted(tmp_path / "one.tar", Store.open(tmp_path / "elsewhere"), stranger)


def test_no_trusted_root_replaces_another(sigstore: PrivateSigstore, tmp_path: Path) -> None:
    policy = policy_for(sigstore)
    (tmp_path / ROOT_FILE).write_bytes(b"mine")
    with pytest.raises(InputError, match="is not replaced"):
        save_new_policy(write_policy(policy).encode(), tmp_path / "policy.toml", policy.root)
    assert (tmp_path / ROOT_FILE).read_bytes() == b"mine" and not (tmp_path / "policy.toml").exists()
    save_new_policy(write_policy(policy).encode(), tmp_path / "policy.toml", policy.root + b" ")  # not the pinned one
    assert (tmp_path / ROOT_FILE).read_bytes() == b"mine"


def verify(signed: tuple[Store, str], policy: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reprise", "verify", signed[1], "--store", str(signed[0].root)]
    return subprocess.run([*command, "--policy", str(policy), *options], capture_output=True, text=True, check=False)


def _beside(store: Store, folder: Path) -> Store:
    """The same store, copied to a folder of its own."""
    import shutil

    shutil.copytree(store.root, folder / "original")
    return Store.open(folder / "original")


def test_a_launcher_signs_no_image(store: Store, image: str, key: Key, stranger: Key) -> None:
    sign_image(store, image, "one", stranger)
    launcher = PolicyKey("host", own_policy(stranger.public_key()).keys[0].public_key)
    policy = replace(own_policy(key.public_key()), launchers=(launcher,))
    assert "not by a known key (tried: own)" in refused(store, image, policy)
