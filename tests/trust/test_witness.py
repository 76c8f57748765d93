"""Log entries and time stamps that come later than the signature: services that fail, and what is kept of them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keyless_signing import DIGEST, root_of
from private_sigstore import Fault, PrivateSigstore, private_sigstore
from sigstore.models import ClientTrustConfig

from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.proofs import SigstoreProofs
from reprise.trust.sign import attach_bundle, sign_image, stored_bundles
from reprise.trust.verify import verify_image
from reprise.trust.witness import Witnesses, Witnessing
from reprise.trust.witness_services import services_of
from reprise.witness import witness_image
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import DoesNotHoldError, RepriseError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, make_statement, open_bundle, sign_statement
from reprise_trainer.identity.inventory import MANIFEST_TYPE
from reprise_trainer.identity.judge import all_hold, evaluate
from reprise_trainer.identity.policy import Policy

KEY, STRANGER = make_key(), make_key()
KEYS = {"own": KEY.public_key()}
NOW = datetime.now(UTC).replace(microsecond=0)
LOG_PATH = {1: "/api/v1/log/entries", 2: "/api/v2/log/entries"}
STAMP_PATH = "/api/v1/timestamp"


def signed(key: ec.EllipticCurvePrivateKey = KEY, digest: str = DIGEST) -> bytes:
    return sign_statement(key, make_statement("image", digest, IMAGE_SIGNATURE, {}))


def witnesses(sigstore: PrivateSigstore, *, ask: bool = True, patience: float = 10) -> Witnesses:
    services = services_of(ClientTrustConfig.from_json(json.dumps(sigstore.trust_config())))
    return Witnesses(replace(services, timeout=(patience, patience)), SigstoreProofs(root_of(sigstore)), ask)


def policy_for(sigstore: PrivateSigstore, **changes: Any) -> Policy:
    root = root_of(sigstore)
    return replace(own_policy(KEY.public_key()), trusted_root=sha256_digest(root), root=root, **changes)


def judged(policy: Policy, bundle: bytes, at: datetime = NOW) -> tuple[bool, str]:
    results = evaluate(policy, DIGEST, [bundle], at=at, proofs=SigstoreProofs(policy.root))
    return all_hold(results), "; ".join(map(str, results))


@pytest.fixture(autouse=True)
def no_waiting(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between two questions take no time, but where the pauses are the point."""
    if "waited_for" not in request.node.name:
        monkeypatch.setattr("reprise.trust.witness_services.sleep", lambda seconds: None)


@pytest.fixture(scope="module")
def both() -> Iterator[PrivateSigstore]:
    """A Sigstore with a log of version 1 and a time stamper."""
    with private_sigstore(timestamps=True) as instance:
        yield instance


@pytest.fixture(scope="module")
def witnessed(both: PrivateSigstore) -> bytes:
    done = witnesses(both).witness(signed(), KEYS)
    assert (done.log, done.time, done.by) == ("added", "added", "key 'own'")
    return done.bundle


@pytest.mark.parametrize(("rekor", "timestamps"), [(1, False), (1, True), (2, True)], ids=["v1", "v1+time", "v2+time"])
def test_a_policy_that_asks_for_log_and_time_holds_once_a_key_s_signature_is_witnessed(
    rekor: int, timestamps: bool
) -> None:
    bundle = signed()
    with private_sigstore(rekor=rekor, timestamps=timestamps) as instance:
        asked = policy_for(instance, log=True, time=True)
        holds, why = judged(asked, bundle)
        assert not holds and "without an entry in a log; `reprise witness` adds one" in why
        done = witnesses(instance).witness(bundle, KEYS)
    assert done.complete and done.log == "added" and done.time == ("added" if timestamps else "not offered")
    assert open_bundle(done.bundle) == open_bundle(bundle)
    assert judged(asked, done.bundle)[0]
    assert not judged(policy_for(instance, log=True), bundle)[0]


@pytest.mark.parametrize("odd", ["name", "twice", "version"])
def test_a_stranger_s_odd_certificate_is_passed_over(both: PrivateSigstore, store: Store, image: str, odd: str) -> None:
    sign_image(store, image, "one", KEY)
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3004a5020500"))
    nobody = x509.CertificateBuilder(x509.Name([]), x509.Name([]), STRANGER.public_key(), 1)
    builder = nobody.not_valid_before(NOW).not_valid_after(NOW)
    raw = builder.add_extension(names, critical=False).sign(STRANGER, hashes.SHA256()).public_bytes(Encoding.DER)
    if odd == "twice":
        other = builder.add_extension(names, critical=False).add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.18"), b"0\0"), critical=False
        )
        raw = other.sign(STRANGER, hashes.SHA256()).public_bytes(Encoding.DER).replace(b"\x55\x1d\x12", b"\x55\x1d\x11")
    if odd == "version":
        raw = raw.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020107"))
    document = json.loads(signed(STRANGER, image))
    document["verificationMaterial"] = {"certificate": {"rawBytes": base64.b64encode(raw).decode()}}
    attach_bundle(store, image, canonical_json(document), IMAGE_SIGNATURE)
    report = witness_image(store, image, policy_for(both), witnesses(both))
    assert report.complete and report.passed_over == 1


def test_a_log_without_a_time_leaves_a_policy_that_asks_for_one_unmet() -> None:
    with private_sigstore(rekor=2) as instance:
        done = witnesses(instance).witness(signed(), KEYS)
    assert (done.log, done.time) == ("added", "not offered")
    assert judged(policy_for(instance, log=True), done.bundle)[0]
    holds, why = judged(policy_for(instance, time=True), done.bundle)
    assert not holds and "without a time that others prove; `reprise witness`" in why


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_service_that_is_down_loses_nothing_and_is_asked_again_later(rekor: int) -> None:
    with private_sigstore(rekor=rekor, timestamps=True) as instance:
        instance.down.add(LOG_PATH[rekor])
        first = witnesses(instance).witness(signed(), KEYS)
        assert (first.log, first.time, first.complete) == ("failed", "added", False)
        assert "503" in first.why
        instance.down.clear()
        instance.down.add(STAMP_PATH)  # what is there already is not asked for again
        second = witnesses(instance).witness(first.bundle, KEYS)
        assert (second.log, second.time, second.complete) == ("added", "there", True)
        asked = policy_for(instance, log=True, time=True)
    assert judged(asked, second.bundle)[0] and not judged(asked, first.bundle)[0]


def test_a_service_that_refuses_connections_loses_nothing() -> None:
    with private_sigstore() as instance:
        absent = witnesses(instance)
    bundle = signed()
    done = absent.witness(bundle, KEYS)
    assert (done.log, done.bundle) == ("failed", bundle) and "gives no answer" in done.why


def test_a_slow_service_is_given_up_and_its_entry_found_again_later() -> None:
    with private_sigstore() as instance:
        instance.faults += [Fault(LOG_PATH[1], seconds=0.6)] * 4
        bundle = signed()
        first = witnesses(instance, patience=0.2).witness(bundle, KEYS)
        assert first.log == "failed" and "gives no answer" in first.why
        again = witnesses(instance).witness(bundle, KEYS)
        assert again.log == "added" and judged(policy_for(instance, log=True), again.bundle)[0]
        assert len(instance.rekor1.entries) == 1  # the first question's: the log says that it has it (409)


def test_a_service_that_is_busy_is_waited_for_as_long_as_it_says(both: PrivateSigstore) -> None:
    both.faults += [Fault(LOG_PATH[1], 429, {"Retry-After": "2"}), Fault(STAMP_PATH, 503, {"Retry-After": "1"})]
    started = time.monotonic()
    done = witnesses(both).witness(signed(), KEYS)
    assert done.complete and 3 <= time.monotonic() - started < 12
    both.faults.append(Fault(LOG_PATH[1], 503, {"Retry-After": "4000"}))
    started = time.monotonic()
    done = witnesses(both).witness(signed(), KEYS)
    assert done.log == "failed" and "4000 seconds" in done.why and time.monotonic() - started < 10


def test_a_dry_run_asks_nobody_and_says_what_is_lacking(both: PrivateSigstore, witnessed: bytes) -> None:
    before = list(both.requests)
    bundle = signed()
    done = witnesses(both, ask=False).witness(bundle, KEYS)
    assert (done.log, done.time, done.complete, done.bundle) == ("lacking", "lacking", False, bundle)
    done = witnesses(both, ask=False).witness(witnessed, KEYS)
    assert (done.log, done.time, done.complete) == ("there", "there", True)
    done = witnesses(both).witness(witnessed, KEYS)
    assert done.bundle == witnessed and both.requests == before


def test_what_the_root_does_not_vouch_for_is_not_kept(both: PrivateSigstore) -> None:
    with private_sigstore() as stranger:
        mixed = Witnesses(witnesses(both).services, SigstoreProofs(root_of(stranger)))
        bundle = signed()
        done = mixed.witness(bundle, KEYS)
    assert (done.log, done.time, done.bundle) == ("failed", "failed", bundle)
    assert "a time stamp is by nobody" in done.why and "the log entry does not hold" in done.why


def test_only_what_a_known_key_signed_is_witnessed(both: PrivateSigstore) -> None:
    before = list(both.requests)
    with pytest.raises(DoesNotHoldError, match="not by a known key"):
        witnesses(both).witness(signed(STRANGER), KEYS)
    with pytest.raises(RepriseError):
        witnesses(both).witness(b"{}", KEYS)
    assert both.requests == before


def moved(witnessed: bytes, bundle: bytes) -> bytes:
    """A bundle with the log entry and the time stamps of another."""
    document, other = json.loads(bundle), json.loads(witnessed)
    other["verificationMaterial"].pop("publicKey")
    document["verificationMaterial"] |= other["verificationMaterial"]
    return json.dumps(document).encode()


def test_the_entry_of_another_signature_is_refused(both: PrivateSigstore, witnessed: bytes) -> None:
    holds, why = judged(policy_for(both, log=True), moved(witnessed, signed()))  # the same statement, signed again
    assert not holds and "about another signature" in why


def test_an_entry_by_another_key_for_the_same_bytes_is_refused(both: PrivateSigstore, witnessed: bytes) -> None:
    entry = json.loads(witnessed)["verificationMaterial"]["tlogEntries"][0]
    body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
    with pytest.raises(DoesNotHoldError, match="about another signature"):
        SigstoreProofs(root_of(both)).witnessed(witnessed, STRANGER.public_key())
    assert body["spec"]["signatures"]


def change(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(entry: dict[str, Any]) -> None:
        *path, last = place.split(".")
        for name in path:
            entry = entry[name]
        entry[last] = value

    return apply


@pytest.mark.parametrize(
    "spoil",
    [
        change("integratedTime", "1600000000"),
        change("logIndex", "0"),
        change("canonicalizedBody", base64.b64encode(b'{"kind": "dsse", "apiVersion": "0.0.1"}').decode()),
        change("inclusionProof.checkpoint.envelope", "x"),
        change("inclusionProof.hashes", []),
        change("inclusionPromise.signedEntryTimestamp", base64.b64encode(b"x").decode()),
        change("inclusionProof", None),
    ],
    ids=["time", "index", "body", "checkpoint", "path", "promise", "no proof"],
)
def test_a_changed_log_entry_is_refused(both: PrivateSigstore, witnessed: bytes, spoil: Any) -> None:
    document = json.loads(witnessed)
    spoil(document["verificationMaterial"]["tlogEntries"][0])
    holds, why = judged(policy_for(both, log=True), json.dumps(document).encode())
    assert not holds and "log entry does not hold" in why


@pytest.mark.parametrize("anchor", ["tlogs", "timestampAuthorities"])
def test_a_log_or_time_stamper_that_the_root_does_not_know_is_refused(
    both: PrivateSigstore, witnessed: bytes, anchor: str
) -> None:
    with private_sigstore() as stranger:
        root = json.dumps({**both.trusted_root(), anchor: stranger.trusted_root()[anchor]}).encode()
    asked = policy_for(both, log=True)
    assert judged(asked, witnessed)[0]
    assert not judged(replace(asked, root=root, trusted_root=sha256_digest(root)), witnessed)[0]


def test_a_key_that_has_ended_counts_for_what_is_proven_to_be_older(both: PrivateSigstore, witnessed: bytes) -> None:
    def ending(at: datetime, **changes: Any) -> Policy:
        policy = policy_for(both, **changes)
        return replace(policy, keys=(replace(policy.keys[0], not_after=at),))

    tomorrow = NOW + timedelta(days=1)  # not an hour: NOW is when the tests were collected
    years_later = NOW + timedelta(days=3000)
    assert judged(ending(tomorrow), witnessed, years_later)[0]
    holds, why = judged(ending(tomorrow), signed(), years_later)
    assert not holds and "key 'own' ended" in why
    holds, why = judged(ending(NOW - timedelta(hours=1)), witnessed, years_later)
    assert not holds and "key 'own' ended" in why
    unpinned = replace(ending(tomorrow), trusted_root="", root=b"")
    assert not judged(unpinned, witnessed, years_later)[0]
    revoked = replace(ending(tomorrow), revoked_keys=(policy_for(both).keys[0].fingerprint,))
    assert not judged(revoked, witnessed, years_later)[0]


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
@example(at=800, byte=65)  # a time stamp that is read lazily
def test_any_byte_changed_is_refused_or_proves_the_same(
    both: PrivateSigstore, witnessed: bytes, at: int, byte: int
) -> None:
    at %= len(witnessed)
    changed = witnessed[:at] + bytes([byte]) + witnessed[at + 1 :]
    proofs = SigstoreProofs(root_of(both))
    try:
        open_bundle(changed)
        found = proofs.witnessed(changed, KEY.public_key())
    except RepriseError:
        return
    assert found.time in (None, proofs.witnessed(witnessed, KEY.public_key()).time)


@pytest.mark.parametrize(
    "material",
    [{"tlogEntries": 1}, {"tlogEntries": [1]}, {"timestampVerificationData": []}, {"timestampVerificationData": 5}]
    + [{"timestampVerificationData": {"rfc3161Timestamps": each}} for each in (1, [1], [{}], [{"signedTimestamp": 1}])]
    + [{"timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "AA=="}] * 33}}],
)
def test_malformed_proofs_are_refused_in_one_sentence(both: PrivateSigstore, material: dict[str, Any]) -> None:
    document = json.loads(signed())
    document["verificationMaterial"] |= material
    holds, why = judged(policy_for(both, log=True), json.dumps(document).encode())
    assert not holds and "\n" not in why


def test_of_an_index_every_image_is_witnessed_and_strangers_bundles_are_passed_over(
    both: PrivateSigstore, store: Store, image: str, other_image: str
) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    entries = [{"mediaType": MANIFEST_TYPE, "digest": each, "size": 1} for each in (image, other_image, DIGEST)]
    index = store.put_manifest(canonical_json({"schemaVersion": 2, "mediaType": kind, "manifests": entries}), kind)
    for each in (index, image, other_image):
        sign_image(store, each, "x", KEY)
    sign_image(store, image, "x", STRANGER)
    report = witness_image(store, index, own_policy(KEY.public_key()), witnesses(both))
    assert (len(report.statements), report.complete, report.passed_over) == (3, True, 1)
    for each in (index, image, other_image):
        asked = policy_for(both, log=True, time=True)
        assert verify_image(store, each, asked).holds
    before = list(both.requests)
    assert witness_image(store, index, own_policy(KEY.public_key()), witnesses(both)).complete
    assert both.requests == before


def test_a_copy_with_a_wrong_entry_beside_it_hides_no_signature(
    both: PrivateSigstore, store: Store, image: str
) -> None:
    sign_image(store, image, "x", KEY)
    ((_, bundle),) = stored_bundles(store, image)
    document = json.loads(bundle)
    document["verificationMaterial"]["tlogEntries"] = [{"logIndex": "x" * 1000}]
    attach_bundle(store, image, json.dumps(document).encode(), IMAGE_SIGNATURE)
    assert witness_image(store, image, own_policy(KEY.public_key()), witnesses(both)).complete
    assert verify_image(store, image, policy_for(both, log=True)).holds


def test_a_witnessing_says_what_became_of_it() -> None:
    done = Witnessing("key 'own'", IMAGE_SIGNATURE, "failed", "added", "no answer", b"")
    assert done.as_json() == {
        "by": "key 'own'",
        "predicate_type": IMAGE_SIGNATURE,
        "log": "failed",
        "time": "added",
        "why": "no answer",
    }
