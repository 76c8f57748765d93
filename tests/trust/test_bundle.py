from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from reprise.trust.keys import make_key
from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError
from reprise_trainer.identity.bundle import (
    IMAGE_SIGNATURE,
    SIZE_LIMIT,
    make_statement,
    open_bundle,
    pre_authentication_encoding,
    read_public_key,
    sign_statement,
    verify_bundle,
)
from reprise_trainer.identity.strict_json import parse_json

DIGEST = "sha256:" + "a" * 64
OWN = make_key()
KEYS = {"own": OWN.public_key()}
BUNDLE = sign_statement(OWN, make_statement("torch-cpu", DIGEST, IMAGE_SIGNATURE, {"n": 1}))


def edited(**changes: Any) -> bytes:
    """The good bundle with fields of its envelope replaced."""
    document = json.loads(BUNDLE)
    document["dsseEnvelope"].update(changes)
    return json.dumps(document).encode()


def signed_payload(payload: bytes) -> bytes:
    """A bundle around any bytes, signed by the own key."""
    from cryptography.hazmat.primitives import hashes

    signature = OWN.sign(pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
    return edited(
        payload=base64.b64encode(payload).decode(), signatures=[{"sig": base64.b64encode(signature).decode()}]
    )


def test_a_signed_statement_is_verified_and_names_the_key() -> None:
    verified = verify_bundle(BUNDLE, {"other": make_key().public_key(), **KEYS})
    assert verified.key_name == "own"
    assert verified.predicate_type == IMAGE_SIGNATURE
    assert verified.predicate == {"n": 1}
    assert [(each.name, each.digest) for each in verified.subjects] == [("torch-cpu", DIGEST)]
    assert verified.is_about(DIGEST) and not verified.is_about("sha256:" + "b" * 64)


def test_the_encoding_that_is_signed_is_that_of_the_dsse_specification() -> None:
    # protocol.md: PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body
    assert pre_authentication_encoding(b"hello world") == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_another_key_does_not_verify() -> None:
    with pytest.raises(DoesNotHoldError, match="not by a known key"):
        verify_bundle(BUNDLE, {"stranger": make_key().public_key()})


def test_no_keys_verify_nothing() -> None:
    with pytest.raises(DoesNotHoldError):
        verify_bundle(BUNDLE, {})


def test_a_changed_payload_does_not_verify() -> None:
    changed = json.dumps(make_statement("torch-cpu", "sha256:" + "b" * 64, IMAGE_SIGNATURE, {})).encode()
    with pytest.raises(DoesNotHoldError):
        verify_bundle(edited(payload=base64.b64encode(changed).decode()), KEYS)


@pytest.mark.parametrize("count", [0, 2])
def test_anything_but_one_signature_is_refused(count: int) -> None:
    signature = json.loads(BUNDLE)["dsseEnvelope"]["signatures"][0]
    with pytest.raises(InputError, match=f"{count} signatures, expected exactly one"):
        verify_bundle(edited(signatures=[signature] * count), KEYS)


def test_another_payload_type_is_refused() -> None:
    with pytest.raises(InputError, match="payload type"):
        verify_bundle(edited(payloadType="text/plain"), KEYS)


@pytest.mark.parametrize("version", ["v0.1", "v0.2", "v9.9"])
def test_another_bundle_version_is_refused(version: str) -> None:
    document = json.loads(BUNDLE)
    document["mediaType"] = f"application/vnd.dev.sigstore.bundle.{version}+json"
    with pytest.raises(InputError, match="media type"):
        verify_bundle(json.dumps(document).encode(), KEYS)


@pytest.mark.parametrize("half", [r'"\ud800"', r'{"\uDFFF": 1}', r'["\ud83d \ude00"]'])
def test_half_a_surrogate_pair_is_no_character(half: str) -> None:
    with pytest.raises(InputError, match="the note has half a surrogate pair"):
        parse_json(half.encode(), "note", size_limit=100)


def test_a_whole_pair_and_what_only_looks_like_a_half_are_text() -> None:
    assert parse_json(rb'["\ud83d\ude00", "\\ud800"]', "note", size_limit=100) == ["\U0001f600", r"\ud800"]


@pytest.mark.parametrize("text", ["a b==", "YQ=", "YR==", "YQ==\n", "-_-_"])
def test_base64_must_be_strict_and_canonical(text: str) -> None:
    with pytest.raises(InputError, match="base64"):
        open_bundle(edited(payload=text))


def test_a_field_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match="has 1 unknown field: 'extra'"):
        open_bundle(edited(extra=1))


def test_names_of_unknown_fields_are_quoted_and_cut() -> None:
    with pytest.raises(InputError) as caught:
        open_bundle(edited(**{f"{number}\x1b[2K\n" + "x" * 1000: 1 for number in range(100)}))
    assert "has 100 unknown fields: '0\\x1b[2K\\nxx" in caught.value.message
    assert caught.value.message.isprintable() and len(caught.value.message) < 400


def test_a_certificate_in_place_of_a_key_is_refused() -> None:
    document = json.loads(BUNDLE)
    document["verificationMaterial"] = {"certificate": {"rawBytes": "YQ=="}}
    with pytest.raises(InputError, match="certificate"):
        open_bundle(json.dumps(document).encode())


def test_a_key_named_twice_is_refused() -> None:
    twice = BUNDLE.replace(b'{"dsseEnvelope"', b'{"mediaType":"x","dsseEnvelope"')
    with pytest.raises(InputError, match="twice"):
        open_bundle(twice)


@pytest.mark.parametrize("depth", [100, 1000, 2_000_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deeply_nested_json_is_refused(depth: int, opening: bytes) -> None:
    data = opening * depth + b"1" + (b"]" if opening == b"[" else b"}") * depth
    with pytest.raises(InputError, match="nested"):
        open_bundle(data)


def test_deep_nesting_inside_the_signed_payload_is_refused() -> None:
    with pytest.raises(InputError, match="nested"):
        verify_bundle(signed_payload(b"[" * 5000 + b"]" * 5000), KEYS)


def test_a_bundle_over_the_size_limit_is_refused_unread() -> None:
    with pytest.raises(InputError, match="more than the limit"):
        open_bundle(b" " * (SIZE_LIMIT + 1))


def test_an_integer_too_long_for_python_is_refused() -> None:
    with pytest.raises(InputError, match="not JSON"):
        open_bundle(b"1" * 100_000)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"null", b"[]", b"NaN", b'{"mediaType": 1}', b"\x00" * 20])
def test_what_is_not_a_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        open_bundle(data)


@pytest.mark.parametrize(
    "statement",
    [
        [],
        {"_type": "https://in-toto.io/Statement/v0.2"},
        {"_type": ["https://in-toto.io/Statement/v1"]},
        {"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "subject": []},
        {"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "subject": [{"digest": {"sha1": "aa"}}]},
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": "x",
            "subject": [{"digest": {"sha256": "A" * 64}}],
        },
        {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": "a" * 64}}]},
        {"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "predicate": 1, "subject": [{}]},
    ],
)
def test_a_signed_payload_that_is_no_statement_is_refused(statement: object) -> None:
    with pytest.raises(InputError):
        verify_bundle(signed_payload(json.dumps(statement).encode()), KEYS)


def test_a_hint_decides_nothing() -> None:
    document = json.loads(BUNDLE)
    document["verificationMaterial"]["publicKey"]["hint"] = "someone else"
    assert verify_bundle(json.dumps(document).encode(), KEYS).key_name == "own"


def test_keys_that_are_not_p256_are_refused() -> None:
    p384 = ec.generate_private_key(ec.SECP384R1())
    rsa_pem = (
        rsa.generate_private_key(65537, 2048).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(InputError, match="expected P-256"):
        sign_statement(p384, make_statement("x", DIGEST, IMAGE_SIGNATURE, {}))
    with pytest.raises(InputError, match="expected P-256"):
        verify_bundle(BUNDLE, {"large": p384.public_key()})
    with pytest.raises(InputError, match="elliptic-curve"):
        read_public_key(rsa_pem.decode())
    with pytest.raises(InputError, match="not a PEM public key"):
        read_public_key("hello")


def test_a_statement_needs_a_real_digest() -> None:
    with pytest.raises(InputError, match="sha256:<64 hex digits>"):
        make_statement("x", "sha256:abc", IMAGE_SIGNATURE, {})


@given(position=st.integers(0, len(BUNDLE) - 1), byte=st.integers(0, 255))
def test_any_byte_changed_gives_a_clear_error_or_the_same_statement(position: int, byte: int) -> None:
    changed = BUNDLE[:position] + bytes([byte]) + BUNDLE[position + 1 :]
    try:
        verified = verify_bundle(changed, KEYS)
    except RepriseError:
        return
    assert verified.statement == verify_bundle(BUNDLE, KEYS).statement


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(field=st.sampled_from(["mediaType", "verificationMaterial", "dsseEnvelope"]), value=_JSON)
def test_any_json_in_place_of_a_field_is_refused_cleanly(field: str, value: object) -> None:
    with pytest.raises(InputError):
        open_bundle(json.dumps({**json.loads(BUNDLE), field: value}).encode())
